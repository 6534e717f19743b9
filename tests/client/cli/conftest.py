"""A management node and an agent that are real, and an operator who has logged in by bs-cli."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.beds.agent import AgentProcess
from tests.beds.node import NodeProcess
from tests.client.terminal import bs_cli

DEADLINE = 60.0


@dataclass(frozen=True)
class Operator:
    """Somebody at a shell, who has a home of his own."""

    home: Path
    node: NodeProcess
    agent: AgentProcess

    def cli(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run bs-cli."""
        return bs_cli(self.home, *words, stdin=stdin)

    def log_in(self) -> None:
        """Log in to the node."""
        done = self.cli("--url", self.node.url, "LogInByAccount", "accountName=admin", stdin=f"{self.node.password}\n")
        assert done.returncode == 0, done.stderr

    def add(self, name: str) -> str:
        """Add a directory of this name as a backup storage; returns its uuid."""
        directory = self.home / "images" / name
        directory.mkdir(parents=True, exist_ok=True)
        tags = self.home / "tags"
        tags.touch(mode=0o600)
        tags.write_text(f"agentEnrollment::{self.agent.enroll().code}\n")
        words = [f"name={name}", "hostname=127.0.0.1", f"url={directory}", f"systemTags=@{tags}"]
        done = self.cli("AddImageStoreBackupStorage", *words)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["inventory"]["uuid"])

    def lose(self, name: str) -> None:
        """Take the marker of a storage away, as an unmounted disk would."""
        (self.home / "images" / name / ".bs-agent.json").unlink()

    def until(self, word: str) -> None:
        """Wait until `health` says a word."""
        until = time.monotonic() + DEADLINE
        while (said := self.cli("health").stdout) != f"{word}\n":
            assert time.monotonic() < until, f"it stays {said}"


@pytest.fixture(scope="package")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    poll = {"poll": {"interval": 2.0, "timeout": 2.0}}
    with NodeProcess(folder / "node", poll) as node, AgentProcess(folder / "agent") as agent:
        (folder / "home").mkdir()
        someone = Operator(folder / "home", node, agent)
        someone.log_in()
        yield someone
    shutil.rmtree(folder)
