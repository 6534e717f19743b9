"""An agent as it is installed on a host behind SSH: a program to enrol with, and a service that a command starts."""

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from tests.beds.agent import ROOT, AgentProcess

_QUICK = {"connect_timeout": 5.0, "command_timeout": 10.0, "start_timeout": 15.0}


class Installed:
    """The agent's two commands on the host; `process` has its configuration, and is it when the test starts it."""

    def __init__(self, folder: Path) -> None:
        self.process = AgentProcess(folder / "agent", {"probe": {"interval": 4.0, "deadline": 4.0}})
        self.folder = folder
        self._pid = folder / "pid"
        agent = f"cd {shlex.quote(str(ROOT))} && exec {shlex.quote(sys.executable)} -m bs_agent.agent"
        configured = f"--config {shlex.quote(str(self.process.config))}"
        self._program = self.script("bs-agent", f'{agent} "$@" {configured}')
        service = self.script("service", f"echo $$ >{shlex.quote(str(self._pid))}\n{agent} run {configured}")
        log = shlex.quote(str(self.process.log))
        self._restart = self.script("restart", f"setsid {shlex.quote(service)} >>{log} 2>&1 </dev/null &")

    def settings(self, **other: Any) -> dict[str, Any]:
        """Return the `[ssh]` section of management.toml that fits this host."""
        return {**_QUICK, "enroll_command": [self._program, "enroll"], "restart_command": [self._restart], **other}

    def script(self, name: str, text: str) -> str:
        """Write a program on the host, and return its path."""
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return str(file)

    def end_service(self) -> None:
        """End the agent that the restart command has started, if it has."""
        if self._pid.exists():
            os.kill(int(self._pid.read_text()), signal.SIGKILL)
            self._pid.unlink()
