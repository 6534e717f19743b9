"""What the doctor looks at on a Ceph host: the rados module, the keyring and the admin sockets."""

import asyncio
import os
import socket
from pathlib import Path

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.doctor.finding import Finding, output

CONNECT_DEADLINE = 5.0


async def librados(settings: AgentSettings) -> list[Finding]:
    """Look whether the worker's Python has the rados module; only on a host that has a Ceph configuration."""
    if not settings.ceph.conf.exists():
        return []
    program = "import rados; print(rados.Rados(rados_id='doctor').version())"
    status, printed = await output(settings.probe.python, "-I", "-c", program)
    if status:
        cure = "Install the package python3-rados of your distribution."
        return [Finding("FAIL", "librados", printed.splitlines()[-1] if printed else "no answer", cure)]
    return [Finding("ok", "librados", f"interface {printed}")]


async def keyring(settings: AgentSettings) -> list[Finding]:
    """Look whether the agent's user may read the configuration and the keyring."""
    ceph = settings.ceph
    if not ceph.conf.exists():
        return []
    path = Path(ceph.keyring or f"/etc/ceph/ceph.{ceph.client}.keyring")
    found = []
    for subject, file in (("ceph.conf", ceph.conf), ("keyring", path)):
        if os.access(file, os.R_OK):
            found.append(Finding("ok", subject, f"{file} is readable"))
        elif subject == "keyring" and not ceph.keyring and not file.exists():
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
    return [_reach(path) for path in sorted(folder.glob("*-mon.*.asok"))]


def _reach(path: Path) -> Finding:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_DEADLINE)
        try:
            probe.connect(str(path))
        except PermissionError:
            cure = "To see the mon's state without a quorum too, set bs_agent_ceph_admin_socket and run site.yml."
            return Finding("warn", "admin socket", f"{path} is not open to the agent", cure)
        except OSError as error:
            return Finding("FAIL", "admin socket", f"{path}: {error.strerror}", "Start the mon.")
    return Finding("ok", "admin socket", f"{path} is open to the agent")
