"""What an extra brings: the client alone speaks with a management node, `cli` adds the program, neither a server."""

import json
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from bs_agent import __version__
from tests.beds.shared import folder_of_run
from tests.client.fleet import STORE
from tests.client.node import SESSION, Node
from tests.client.terminal import environment
from tests.deploy.releases import Wheelhouse

SERVERS = {"sqlalchemy", "alembic", "asyncssh", "aiosqlite", "asyncpg", "argon2", "cryptography", "psutil"}
QUERY = """
import importlib.util, json, sys
from bs_agent.client.sdk import Client, QueryBackupStorageAction
client = Client(url=sys.argv[1], session_id=sys.argv[2])
action = QueryBackupStorageAction()
action.conditions = ["status=Connected"]
print(json.dumps({
    "names": [one.name for one in action.call(client).unwrap().inventories],
    "there": [name for name in sys.argv[3:] if importlib.util.find_spec(name)],
}))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree and all that any extra may ask for, as the index has them."""
    releases = folder_of_run(tmp_path_factory) / "releases"
    archives = Wheelhouse(tmp_path_factory.mktemp("wheelhouse") / "archives", releases).folder
    folder = tmp_path_factory.mktemp("wheels")
    with tarfile.open(archives / f"bs-management-{__version__}.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder / "bundle/wheels"


def pip(folder: Path, *words: str) -> str:
    """Run pip for the environment in this folder and return what it printed."""
    command = [sys.executable, "-m", "pip", "--python", str(folder), "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(folder: Path, wheels: Path, extra: str) -> Path:
    """Install as a user does; returns the Python of the new environment."""
    if not (folder / "bin/python").exists():
        venv.create(folder, symlinks=True)
    pip(folder, "install", "--quiet", "--no-index", f"--find-links={wheels}", f"bs-agent[{extra}]=={__version__}")
    return folder / "bin/python"


@pytest.mark.timeout(600)
def test_each_extra_brings_what_it_needs_and_no_server(node: Node, wheels: Path, tmp_path: Path) -> None:
    python = str(install(tmp_path / "venv", wheels, "client"))
    asked = [python, "-I", "-c", QUERY, node.url, SESSION, *sorted(SERVERS), "click", "rich", "prompt_toolkit"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"names": [STORE["name"]], "there": []}
    typed = subprocess.run(
        [python, "-I", "-c", "import bs_agent; print(bs_agent.__file__)"], capture_output=True, text=True, check=True
    )
    assert (Path(typed.stdout.strip()).parent / "py.typed").is_file()

    install(tmp_path / "venv", wheels, "cli")
    state = tmp_path / ".local/state/bs-cli"
    state.mkdir(mode=0o700, parents=True)
    (state / "session").touch(mode=0o600)
    (state / "session").write_text(json.dumps({"url": node.url, "uuid": SESSION, "account": "admin"}))
    program = [str(Path(python).with_name("bs-cli")), "QueryBackupStorage", "fields=name", "status=Connected"]
    clean = {name: value for name, value in environment(tmp_path).items() if name != "PYTHONPATH"}
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, env=clean, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inventories"] == [{"name": STORE["name"]}]
    there = [line.partition("==")[0].lower() for line in pip(tmp_path / "venv", "freeze").splitlines()]
    assert "rich" in there
    assert not set(there) & SERVERS
