"""`make run`, as its recipe calls it: what it prints can be used, a second run has the same data, nothing runs on."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.beds.agent import ROOT
from tests.beds.node import free_port
from tests.client.terminal import environment

pytestmark = pytest.mark.timeout(180)

LAST_LINE = "Ctrl-C stops both daemons"
SECONDS = 60


class Run:
    """A quick start that has printed everything: the answer of the query, and the lines to go on by."""

    def __init__(self, output: str) -> None:
        self.output = output
        self.answer: dict[str, Any] = json.JSONDecoder().raw_decode(output[output.index("{\n") :])[0]
        self.lines = re.findall(r"(?m)^  (curl .*)$", output)
        self.commands = re.findall(r"(?m)^  (\S.*bs-cli'? .*)$", output)

    @property
    def uuid(self) -> str:
        """The uuid of the storage that was added."""
        return str(self.answer["inventories"][0]["uuid"])

    def curl(self, number: int) -> dict[str, Any]:
        """Run one of the printed lines as it stands there."""
        command = ["sh", "-c", self.lines[number].replace("curl", f"curl -s -m {SECONDS}", 1)]
        done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=2 * SECONDS)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@contextmanager
def quickstart(folder: Path, port: int, agent_port: int) -> Iterator[Run]:
    """Run a quick start and end it with Ctrl-C; what it has started ends with it."""
    options = ["--directory", str(folder), "--port", str(port), "--agent-port", str(agent_port)]
    child = subprocess.Popen(
        [sys.executable, "-m", "bs_agent.client.cli.quickstart", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert child.stdout
        output = ""
        while LAST_LINE not in output:
            line = child.stdout.readline()
            assert line, output
            output += line
        below = psutil.Process(child.pid).children(recursive=True)
        assert len(below) >= 2
        yield Run(output)
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=SECONDS)
        assert child.returncode == 0, rest
        assert psutil.wait_procs(below, timeout=SECONDS)[1] == []
    finally:
        if child.poll() is None:
            child.terminate()
            child.communicate(timeout=SECONDS)


def test_a_second_run_picks_up_the_data_and_the_printed_lines_work(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    folder = tmp_path / 'it\'s "mine"'  # whatever stands in a path, the printed lines hold
    images = folder / "images"
    with quickstart(folder, *ports) as first:
        assert first.answer["success"] is True
        assert first.answer["inventories"][0]["status"] == "Connected"
        kept = (folder / "admin-password").read_text().strip()
        assert f"The console:  http://127.0.0.1:{ports[0]}/  (account admin, password {kept})" in first.output
        for line in first.commands:
            subprocess.run(["sh", "-c", line], env=environment(tmp_path), check=True, timeout=SECONDS)
        assert len(first.commands) == 3
    with quickstart(folder, *ports) as second:
        assert second.uuid == first.uuid
        assert [found["uuid"] for found in second.curl(0)["inventories"]] == [first.uuid]
        assert second.curl(1)["inventory"]["status"] == "Connected"
        assert [file.name for file in images.iterdir()] == [".bs-agent.json"]
        assert second.curl(2) == {}
        assert list(images.iterdir()) == []
        assert second.curl(0)["inventories"] == []


@pytest.mark.parametrize("variable", ["PORT", "AGENT_PORT"])
def test_a_port_that_is_taken_is_named_and_nothing_is_sent_to_it(tmp_path: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"PORT": free_port(), "AGENT_PORT": free_port(), variable: port}
        settings = [f"{name}={number}" for name, number in ports.items()]
        make = ["make", "--no-print-directory", "run", f"RUN_DIRECTORY={tmp_path}/run", *settings]
        done = subprocess.run(make, capture_output=True, check=False, text=True, timeout=SECONDS, cwd=ROOT)
        taken.settimeout(0)
        with pytest.raises(BlockingIOError):
            taken.accept()
    assert done.returncode == 2
    assert f"make run: port {port} cannot be had: Address already in use. `ss -ltnp` shows who has it" in done.stderr
    assert f"make run {variable}={port + 1}\n" in done.stderr
    assert "Traceback" not in done.stderr
