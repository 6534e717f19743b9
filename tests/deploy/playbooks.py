"""Runs the project's playbooks with the real ansible-playbook against booted hosts."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.beds.hosts import Site
from tests.deploy.releases import ROOT, Wheelhouse

PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
ANSIBLE = Path(sys.executable).with_name("ansible")
CALLBACKS = ROOT / "tests/deploy/callbacks"
RUN_SECONDS = 300
ADMIN_PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Run:
    """How a run of a playbook ended."""

    status: int
    output: str

    def count(self, host: str, word: str) -> int:
        """Return a number of the recap, for example of the `changed` tasks of a host."""
        recap = self.output.rpartition("PLAY RECAP")[2]
        found = re.search(rf"(?m)^{re.escape(host)}\s.*\b{word}=(\d+)", recap)
        return int(found[1]) if found else 0

    @property
    def changed(self) -> list[str]:
        """The names of the tasks that changed something, in their order."""
        parts = re.findall(
            r"(?ms)^(?:TASK|RUNNING HANDLER) \[(.*?)\] \**\n(.*?)(?=^(?:TASK|PLAY|RUNNING) |\Z)", self.output
        )
        return [name for name, what in parts if re.search(r"(?m)^changed: ", what)]


class Fleet:
    """Booted hosts, an inventory of them, and the wheelhouse that they are installed from.

    `packed` is a folder in which Ansible's modules are kept, packed for the hosts, from one run to the next.
    """

    def __init__(self, site: Site, wheelhouse: Wheelhouse, folder: Path, packed: Path | None = None) -> None:
        self.site, self.wheelhouse = site, wheelhouse
        self.inventory = folder / "inventory.json"
        # Hosts of another test have the same addresses: no connection of theirs may be taken for one of ours.
        self.environment = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "ssh")}
        # Where the hosts' Python is, so that not each run has to find it; None lets it.
        self.python: str | None = "/usr/bin/python3"
        self.groups: dict[str, Any] = {"bs_management": {"hosts": {}}, "bs_agents": {"hosts": {}}}
        self._callbacks: list[str] = []
        if packed:
            packed.mkdir(exist_ok=True)
            self.call_back("keep_modules", KEPT_MODULES=str(packed))

    def call_back(self, name: str, **environment: str) -> None:
        """Have one of our callbacks in all further runs, with variables of its own."""
        self._callbacks.append(name)
        enabled = {"ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS), "ANSIBLE_CALLBACKS_ENABLED": ",".join(self._callbacks)}
        self.environment |= enabled | environment

    def management(self, name: str, **variables: Any) -> None:
        """Let a host run the management node."""
        self._add("bs_management", name, {"bs_management_admin_password": ADMIN_PASSWORD, **variables})

    def agent(self, name: str, **variables: Any) -> None:
        """Let a host run an agent."""
        self._add("bs_agents", name, variables)

    def _add(self, group: str, name: str, variables: dict[str, Any]) -> None:
        self.groups[group]["hosts"][name] = {"ansible_host": self.site.hosts[name].address, **variables}

    def play(self, playbook: str, *arguments: str, **variables: Any) -> Run:
        """Run one of the playbooks; a run that kills itself has the status of the signal."""
        command = [str(PLAYBOOK), playbook, *arguments]
        if variables:
            command += ["--extra-vars", json.dumps(variables)]
        return self._run(command)

    def ping(self) -> Run:
        """Let Ansible connect to every host, and do nothing there."""
        return self._run([str(ANSIBLE), "all", "-m", "ansible.builtin.ping"])

    def _run(self, command: list[str]) -> Run:
        options = [option for option in self.site.ssh_options if option not in ("-F", "none", "-i", str(self.site.key))]
        connection = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.site.key),
            "ansible_ssh_common_args": f"-F none {' '.join(options)}",
            "bs_agent_wheelhouse": str(self.wheelhouse.folder),
            "bs_management_wheelhouse": str(self.wheelhouse.folder),
        }
        if self.python:
            connection["ansible_python_interpreter"] = self.python
        self.inventory.write_text(json.dumps({"all": {"vars": connection}, **self.groups}))
        process = subprocess.Popen(
            self.site.inside(*command, "-i", str(self.inventory)),
            cwd=ROOT / "ansible",
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"{command[1]} did not end: {process.communicate()[0][-4000:]}") from None
        return Run(process.returncode, output)

    def site_yml(self, *arguments: str, **variables: Any) -> Run:
        """Run site.yml, which must succeed."""
        run = self.play("site.yml", *arguments, **variables)
        assert run.status == 0, run.output[-6000:]
        return run
