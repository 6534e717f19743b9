"""What an extra brings: the client alone speaks with a management node, `cli` adds the program, neither a server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.fleet import STORE
from tests.client.node import SESSION, Node
from tests.client.terminal import ROOT, environment

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


def install(folder: Path, extra: str) -> Path:
    """Install from this tree as a user does; returns the Python of the new environment."""
    if not (folder / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    command = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, f"{ROOT}[{extra}]"], capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    return folder / "bin/python"


@pytest.mark.timeout(600)
def test_each_extra_brings_what_it_needs_and_no_server(node: Node, tmp_path: Path) -> None:
    python = str(install(tmp_path / "venv", "client"))
    asked = [python, "-I", "-c", QUERY, node.url, SESSION, *sorted(SERVERS), "click", "rich", "prompt_toolkit"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"names": [STORE["name"]], "there": []}
    typed = subprocess.run(
        [python, "-I", "-c", "import bs_agent; print(bs_agent.__file__)"], capture_output=True, text=True, check=True
    )
    assert (Path(typed.stdout.strip()).parent / "py.typed").is_file()

    install(tmp_path / "venv", "cli")
    state = tmp_path / ".local/state/bs-cli"
    state.mkdir(mode=0o700, parents=True)
    (state / "session").touch(mode=0o600)
    (state / "session").write_text(json.dumps({"url": node.url, "uuid": SESSION, "account": "admin"}))
    program = [str(Path(python).with_name("bs-cli")), "QueryBackupStorage", "fields=name", "status=Connected"]
    clean = {name: value for name, value in environment(tmp_path).items() if name != "PYTHONPATH"}
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, env=clean, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inventories"] == [{"name": STORE["name"]}]
    left = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True, timeout=60)
    assert not {line.partition("==")[0].lower() for line in left.stdout.splitlines()} & SERVERS
