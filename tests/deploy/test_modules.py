"""The modules of ansible/library without a host: what they lay and what they leave alone, and what they answer."""

import grp
import importlib.util
import json
import os
import pwd
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bs_agent import __version__
from tests.beds.node import NodeProcess
from tests.deploy.releases import ROOT, Wheelhouse

LIBRARY = ROOT / "ansible/library"
ANSIBLE = Path(sys.executable).with_name("ansible")
SECRET = "nobody may see this"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, LIBRARY / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bs_files, bs_ask, bs_storages, bs_install = map(load, ("bs_files", "bs_ask", "bs_storages", "bs_install"))


def wish(path: Path, **given: Any) -> dict[str, Any]:
    """Return an entry as Ansible hands it to the module."""
    rest = dict.fromkeys(bs_files.ENTRY) | {name: option.get("default") for name, option in bs_files.ENTRY.items()}
    account = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
    return rest | account | {"path": str(path)} | given


def run(wishes: list[dict[str, Any]]) -> list[str]:
    """Do what the module does and return the paths that it changed."""
    changes = bs_files.plan(wishes, check_mode=False)
    for change in changes:
        bs_files.validate(change, check_mode=False)
    for change in changes:
        bs_files.lay(change, lambda *_: None)
    return [change.path for change in changes]


@pytest.fixture
def wishes(tmp_path: Path) -> list[dict[str, Any]]:
    """One of each kind."""
    (tmp_path / "source").write_text("copied\n")
    (tmp_path / "gone").write_text("")
    return [
        wish(tmp_path / "folder", state="directory"),
        wish(tmp_path / "folder/file", content="one\n", mode="0640"),
        wish(tmp_path / "folder/copy", copy_of=str(tmp_path / "source")),
        wish(tmp_path / "folder/link", state="link", link_to="file"),
        wish(tmp_path / "gone", state="absent"),
    ]


def tree(folder: Path) -> list[tuple[str, int, str]]:
    return sorted(
        (str(path), path.lstat().st_mode, str(path.readlink()) if path.is_symlink() else path.read_text())
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    )


def test_everything_is_laid_once(tmp_path: Path, wishes: list[dict[str, Any]]) -> None:
    assert run(wishes) == [entry["path"] for entry in wishes]
    assert (tmp_path / "folder/file").read_text() == "one\n"
    assert (tmp_path / "folder/file").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "folder/copy").read_text() == "copied\n"
    assert (tmp_path / "folder/link").readlink() == Path("file")
    assert not (tmp_path / "gone").exists()
    assert run(wishes) == []


@pytest.mark.parametrize(
    "spoil",
    [
        "echo two >> folder/file",
        "chmod 0644 folder/file",
        "rm folder/file",
        "mv folder/file source-of-link && ln -s ../source-of-link folder/file",
        "ln -sfn elsewhere folder/link",
        "rm folder/link && echo no link > folder/link",
        ": > folder/copy",
        "chmod 0700 folder",
        "echo again > gone",
        # What a killed run left.
        "rm folder/file && echo half > folder/.file.new",
    ],
)
def test_what_was_changed_by_hand_is_put_back(tmp_path: Path, wishes: list[dict[str, Any]], spoil: str) -> None:
    run(wishes)
    before = tree(tmp_path / "folder")
    subprocess.run(["sh", "-c", spoil], cwd=tmp_path, check=True)
    assert len(run(wishes)) == 1
    assert tree(tmp_path / "folder") == before
    assert (tmp_path / "folder").stat().st_mode & 0o7777 == 0o755
    assert run(wishes) == []


def test_nothing_is_laid_when_one_content_is_not_valid(tmp_path: Path) -> None:
    good = wish(tmp_path / "good", content="1")
    bad = wish(tmp_path / "bad", content="wrong\n", validate=["grep", "right", "%s"])
    with pytest.raises(bs_files.Refused, match="bad would not be valid"):
        run([good, bad])
    assert list(tmp_path.iterdir()) == []
    assert run([good, bad | {"content": "right\n"}]) == [good["path"], bad["path"]]


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "etc/deep").mkdir(parents=True)
    with pytest.raises(bs_files.Refused, match="move it out of the way"):
        run([wish(tmp_path / "etc", content="")])
    with pytest.raises(bs_files.Refused, match="move it out of the way"):
        run([wish(tmp_path / "etc", state="absent")])


def test_what_goes_goes_with_all_in_it_and_a_link_alone(tmp_path: Path) -> None:
    (tmp_path / "opt/deep").mkdir(parents=True)
    (tmp_path / "opt/deep/file").write_text("")
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    wishes = [wish(tmp_path / name, state="gone") for name in ("opt", "link", "never")]
    assert run(wishes) == [str(tmp_path / "opt"), str(tmp_path / "link")]
    assert list(tmp_path.iterdir()) == [tmp_path / "kept"]
    assert run(wishes) == []


def play(arguments: dict[str, Any], *options: str) -> str:
    """Run the module as Ansible runs it, on this machine, and return all that it says."""
    command = [
        str(ANSIBLE),
        "localhost",
        "-i",
        "localhost,",
        "-c",
        "local",
        "-m",
        "bs_files",
        "-a",
        json.dumps(arguments),
    ]
    environment = os.environ | {
        "ANSIBLE_LIBRARY": str(LIBRARY),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }
    python = ["-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(
        [*command, *python, *options], check=False, capture_output=True, text=True, env=environment, timeout=60
    )
    return done.stdout + done.stderr


def test_check_mode_shows_the_change_and_makes_none(tmp_path: Path) -> None:
    shown = wish(tmp_path / "shown", content="a line\n")
    hidden = wish(tmp_path / "hidden", content=SECRET, diff=False)
    later = wish(tmp_path / "later", copy_of="/does/not/exist/yet")
    output = play({"files": [shown, hidden, later]}, "--check", "--diff", "-vvv")
    assert "CHANGED" in output
    assert "+a line" in output
    assert SECRET not in output.split("CHANGED")[1]
    assert f"+{len(SECRET)} bytes that are not shown" in output
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_owner_is_refused_with_a_sentence(tmp_path: Path) -> None:
    output = play({"files": [wish(tmp_path / "file", content="", owner="nobody-of-this-name")]})
    assert "FAILED" in output
    assert "no such user: 'nobody-of-this-name'" in output


def test_questions_are_answered_whatever_becomes_of_them() -> None:
    said = bs_ask.run(["sh", "-c", "echo one; echo two; echo oh >&2; exit 3"], 30)
    assert said == {"rc": 3, "stdout": "one\ntwo", "stdout_lines": ["one", "two"], "stderr": "oh"}
    assert bs_ask.run(["no-such-program"], 30)["rc"] == 127
    assert bs_ask.run(["sleep", "60"], 0.01)["rc"] == 124
    assert bs_ask.run([], 30)["rc"] == 0


def test_a_url_is_asked_for_its_status() -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert bs_ask.status_of(f"{url}/readyz") == 200
        assert bs_ask.status_of(f"{url}/other") == 503
        server.shutdown()
    assert bs_ask.status_of(url) == 0


@pytest.fixture
def release(tmp_path: Path, wheelhouse: Wheelhouse) -> dict[str, Any]:
    """What the module is told to make of the agent's archive, where an interrupted run left something."""
    folder = tmp_path / "releases" / __version__
    (folder / "lib").mkdir(parents=True)
    (folder / "lib/half").write_text("")
    archive = tmp_path / "releases/.archive"
    shutil.copy(wheelhouse.folder / f"bs-agent-{__version__}.tar", archive)
    wish = {"archive": archive, "folder": folder, "python": sys.executable}
    named = {name: str(path) for name, path in wish.items()}
    return named | {"requirement": f"bs-agent[agent]=={__version__}", "stamp": "a sum", "labelled": False}


def test_a_release_is_made_anew_and_everybody_may_read_it(release: dict[str, Any]) -> None:
    folder, umask = Path(release["folder"]), os.umask(0o077)
    try:
        bs_install.build(**release)
    finally:
        os.umask(umask)
    done = subprocess.run([folder / "bin/bs-agent", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(__version__)
    assert (folder / ".complete").read_text() == "a sum"
    assert (folder / "systemd/bs-agent.service").is_file()
    assert not list(folder.rglob("half"))
    assert not (folder / "bundle").exists()
    assert [path.name for path in folder.parent.iterdir()] == [__version__]
    files = [path for path in [folder, *folder.rglob("*")] if not path.is_symlink()]
    closed = [path for path in files if not path.stat().st_mode & 0o004]
    assert closed == []


def test_a_release_that_cannot_be_made_has_no_stamp(release: dict[str, Any]) -> None:
    with pytest.raises(bs_install.Refused, match="No matching distribution found for bs-agent"):
        bs_install.build(**release | {"requirement": "bs-agent[agent]==0.0.1"})
    assert not (Path(release["folder"]) / ".complete").exists()


def test_two_runs_do_not_make_the_same_release(release: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The one before was killed, but pip that it started still writes."""
    above = os.open(Path(release["folder"]).parent, os.O_RDONLY)
    bs_install.wait_for_others(above, release["folder"])
    pip = subprocess.Popen(["sleep", "60"], pass_fds=[above])
    os.close(above)
    monkeypatch.setattr(bs_install, "WAIT_SECONDS", 0.2)
    try:
        with pytest.raises(bs_install.Refused, match="another run has been making"):
            bs_install.build(**release)
        assert [path.name for path in Path(release["folder"]).iterdir()] == ["lib"]
    finally:
        pip.kill()
        pip.wait()
    above = os.open(Path(release["folder"]).parent, os.O_RDONLY)
    bs_install.wait_for_others(above, release["folder"])
    os.close(above)


def test_a_management_node_tells_its_storages_to_the_administrator_only(tmp_path: Path) -> None:
    with NodeProcess(tmp_path / "node") as node:
        api = bs_storages.Api(node.url, 10)
        assert bs_storages.ask(api, node.password) == {"accepted": True, "refusal": "", "storages": []}
        refused = bs_storages.ask(bs_storages.Api(node.url, 10), "another password")
        # What it was asked last was to log out.
        with pytest.raises(bs_storages.ApiError):
            api.call("GET", "/backup-storage")
    assert not refused["accepted"]
    assert "ID.1000" in refused["refusal"], refused


def test_of_a_storage_only_what_a_deployment_compares_is_told() -> None:
    storage = {"name": "a", "uuid": "1", "status": "Connected", "availableCapacity": 5}
    assert bs_storages.short(storage) == {"name": "a", "uuid": "1", "status": "Connected", "mons": []}
    with_mons = storage | {"mons": [{"hostname": "10.0.0.1", "status": "Connected"}]}
    assert bs_storages.short(with_mons)["mons"] == [{"hostname": "10.0.0.1"}]
