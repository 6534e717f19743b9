"""What the doctor looks at of the service: its unit, its port and its certificate."""

import asyncio
import grp
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from bs_agent.agent import state
from bs_agent.agent.config import DEFAULT_FILE, AgentSettings
from bs_agent.agent.doctor.finding import Finding, properties
from bs_agent.daemon.certificate import CertificateError, fingerprint, server_context
from bs_agent.daemon.configuration import Address

SERVICE, SOCKET = "bs-agent.service", "bs-agent.socket"
ANSWER_DEADLINE = 10.0
EXPIRES_SOON = 60


async def groups() -> list[int]:
    """Return the groups that the unit adds to those of the service's user."""
    named = (await properties(SERVICE, "SupplementaryGroups")).get("SupplementaryGroups", "").split()
    known = {group.gr_name: group.gr_gid for group in grp.getgrall()}
    return [known[name] for name in named if name in known]


async def configuration(_: AgentSettings) -> list[Finding]:
    """Look at the file that the unit starts the service with; without a unit a missing one only means the defaults."""
    if (await properties(SERVICE, "LoadState")).get("LoadState") != "loaded":
        return []
    if os.access(DEFAULT_FILE, os.R_OK):
        return [Finding("ok", "configuration", f"{DEFAULT_FILE} is readable")]
    missing = not await asyncio.to_thread(DEFAULT_FILE.exists)
    cure = "Create it: an empty one will do." if missing else f"Let user id {os.geteuid()} read it."
    what = "is not there" if missing else "cannot be read by the service"
    return [Finding("FAIL", "configuration", f"{DEFAULT_FILE} {what}, so it does not start", cure)]


async def unit(_: AgentSettings) -> list[Finding]:
    """Look at what systemd says of the service."""
    seen = await properties(SERVICE, "LoadState", "ActiveState", "SubState", "Result", "NRestarts", "UnitFileState")
    if seen.get("LoadState") != "loaded":
        return [Finding("warn", "unit", f"there is no {SERVICE}", "Nothing, if you start the agent some other way.")]
    text = f"{seen['ActiveState']} ({seen['SubState']}), {seen['NRestarts']} restarts by itself"
    if seen["ActiveState"] != "active":
        cure = f"Read `journalctl --unit {SERVICE}`, then `systemctl restart {SERVICE}`."
        return [Finding("FAIL", "unit", f"{text}, last result {seen['Result']}", cure)]
    if seen["UnitFileState"] != "enabled":
        return [Finding("warn", "unit", f"{text}, but not enabled", f"Run `systemctl enable {SERVICE}`.")]
    return [Finding("ok", "unit", text)]


async def port(settings: AgentSettings) -> list[Finding]:
    """Look who has the port: the agent, which must answer, nobody, or somebody else."""
    listen = settings.server.listen
    opened = await properties(SOCKET, "ActiveState", "Listen")
    by_systemd = opened.get("ActiveState") == "active"
    if by_systemd and str(listen) not in opened.get("Listen", ""):
        cure = f"Let server.listen and the ListenStream of {SOCKET} say the same."
        return [Finding("FAIL", "port", f"{opened['Listen']} is open, but server.listen is {listen}", cure)]
    running = state.running_address(settings.state.directory)
    if running:
        return [await _ask(settings, running)]
    if by_systemd:
        return [Finding("warn", "port", f"{listen} is open, but no agent runs", f"Run `systemctl start {SERVICE}`.")]
    taken = _bind(listen)
    if taken:
        cure = f"See who has it with `ss --listening --tcp --processes 'sport = :{listen.port}'`."
        return [Finding("FAIL", "port", f"{listen}: {taken}", cure)]
    return [Finding("warn", "port", f"{listen} is free: no agent runs", f"Run `systemctl start {SERVICE}`.")]


async def certificate(settings: AgentSettings) -> list[Finding]:
    """Look at the agent's certificate and its expiry."""
    path = state.present_of(settings.state.directory)
    if not settings.state.directory.exists():
        return [Finding("warn", "certificate", f"{path} is not there yet", "The first start makes it.")]
    try:
        end = await asyncio.to_thread(_end_of, path)
    except (OSError, ValueError, CertificateError) as error:
        cure = f"Remove {path.parent}, restart the agent, and reconnect its storages with a new code."
        return [Finding("FAIL", "certificate", f"{path}: {error}", cure)]
    days = (end - datetime.now(UTC)).days
    if days > EXPIRES_SOON:
        return [Finding("ok", "certificate", f"valid until {end:%Y-%m-%d}")]
    cure = "Run `bs-agent rotate-certificate`."
    return [Finding("FAIL" if days < 0 else "warn", "certificate", f"valid until {end:%Y-%m-%d}", cure)]


async def _ask(settings: AgentSettings, running: Address) -> Finding:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(running.host, running.host)  # noqa: S104  what it listens on
    url = f"https://{Address(host, running.port)}/readyz"
    try:
        pinned = aiohttp.Fingerprint(bytes.fromhex(fingerprint(state.present_of(settings.state.directory))))
        timeout = aiohttp.ClientTimeout(total=ANSWER_DEADLINE)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, ssl=pinned) as answer:
            said = (await answer.text()).strip()
            if answer.status == 200:
                return Finding("ok", "port", f"{running} is answered by the agent")
            return Finding("FAIL", "port", f"the agent is not ready: {said[:300]}", "Cure what it says.")
    except (aiohttp.ClientError, TimeoutError, CertificateError) as error:
        said = str(error) or type(error).__name__
        return Finding("FAIL", "port", f"{url}: {said[:300]}", f"Run `systemctl restart {SERVICE}`.")


def _bind(listen: Address) -> str:
    """Return why the address cannot be listened on; nothing when it can."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(tuple(listen))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _end_of(path: Path) -> datetime:
    from cryptography import x509  # noqa: PLC0415  heavy

    server_context(path)
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
