"""What the doctor looks at on a Ceph host: the rados module, the keyring and the admin sockets."""

import asyncio
import os
import socket
import sqlite3
from pathlib import Path

from bs_agent.agent.config import AgentSettings, CephSettings
from bs_agent.agent.doctor.finding import Finding, output
from bs_agent.agent.journal import database
from bs_agent.agent.served import read_rows
from bs_agent.agent.state import database_of
from bs_agent.agent.storages.ceph_sockets import mon_sockets
from bs_agent.contract.report import CEPH

CONNECT_DEADLINE = 5.0
OPEN = "To see the mon's state without a quorum too, set bs_agent_ceph_admin_socket and run site.yml."


async def librados(settings: AgentSettings) -> list[Finding]:
    """Look whether the worker's Python has the rados module; only on a host that has a Ceph configuration."""
    if not is_there(settings.ceph.conf):
        return []
    program = "import rados; print(rados.Rados(rados_id='doctor').version())"
    status, printed = await output(settings.probe.python, "-I", "-c", program)
    if status:
        cure = "Install the package python3-rados of your distribution."
        return [Finding("FAIL", "librados", printed.splitlines()[-1] if printed else "no answer", cure)]
    return [Finding("ok", "librados", f"interface {printed}")]


async def configuration(settings: AgentSettings) -> list[Finding]:
    """Look whether the configuration is there where somebody wants one: a storage, or the agent's own configuration."""
    conf = settings.ceph.conf
    if is_there(conf) or not (conf != CephSettings().conf or serves_ceph(settings)):
        return []
    cure = "Put the cluster's configuration there, or name the right file in ceph.conf of agent.toml."
    return [Finding("FAIL", "ceph.conf", f"{conf} is not there", cure)]


def is_there(path: Path) -> bool:
    """Tell whether there is a file; one that may not even be looked for is."""
    try:
        return path.exists()
    except OSError:
        return True


def serves_ceph(settings: AgentSettings) -> bool:
    """Tell whether a Ceph storage is connected; a journal that cannot be read has a finding of its own."""
    try:
        with database.looked_at(database_of(settings.state.directory)) as connection:
            return any(row.parameters.type == CEPH for row in read_rows(connection))
    except (sqlite3.Error, OSError, database.DatabaseRefusedError, ValueError):
        return False


async def keyring(settings: AgentSettings) -> list[Finding]:
    """Look whether the agent's user may read the configuration and the keyring."""
    ceph = settings.ceph
    if not is_there(ceph.conf):
        return []
    path = Path(ceph.keyring or f"/etc/ceph/ceph.{ceph.client}.keyring")
    found = []
    for subject, file in (("ceph.conf", ceph.conf), ("keyring", path)):
        if os.access(file, os.R_OK):
            found.append(Finding("ok", subject, f"{file} is readable"))
        elif subject == "keyring" and not ceph.keyring and not is_there(file):
            # Ceph knows more places, and the configuration may name yet another one.
            found.append(Finding("warn", subject, f"there is no {file}", "Name the right one in ceph.keyring."))
        else:
            user = f"user id {os.geteuid()}"
            cure = f"Run `setfacl --modify user:bs-agent:r {file}`."
            found.append(Finding("FAIL", subject, f"{file} cannot be read by {user}", cure))
    return found


async def admin_sockets(settings: AgentSettings) -> list[Finding]:
    """Look whether the mons of this host can be asked without the cluster."""
    return await asyncio.to_thread(_reach_all, settings.ceph.run_dir)


def _reach_all(folder: Path) -> list[Finding]:
    return _closed(folder) + _reach_sockets(folder)


def _closed(folder: Path) -> list[Finding]:
    """Name what cannot be looked into: Ceph closes the folders of its sockets, and there may be some in them."""
    below = (each for each in folder.glob("*") if each.is_dir())
    folders = [each for each in (folder, *below) if is_there(each) and not os.access(each, os.R_OK | os.X_OK)]
    return [Finding("warn", "admin socket", f"{each} is not open to the agent", OPEN) for each in folders]


def _reach_sockets(folder: Path) -> list[Finding]:
    reached = {path: _reach(path) for path in mon_sockets(folder)}
    found = [finding for finding in reached.values() if finding]
    dead = [path for path, finding in reached.items() if finding is None]
    if not dead:
        return found
    text = f"{dead[0]}{f' and {len(dead) - 1} others' if len(dead) > 1 else ''}: nobody answers"
    if found:
        return [
            *found,
            Finding("warn", "admin socket", text, "Remove what mons that are gone have left, or start them."),
        ]
    return [Finding("FAIL", "admin socket", text, "Start the mon.")]


def _reach(path: Path) -> Finding | None:
    """Look at one socket; None when its mon is dead."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_DEADLINE)
        try:
            probe.connect(str(path))
        except PermissionError:
            return Finding("warn", "admin socket", f"{path} is not open to the agent", OPEN)
        except OSError:
            return None
    return Finding("ok", "admin socket", f"{path} is open to the agent")
