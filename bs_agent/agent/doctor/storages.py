"""What the doctor looks at of the storages: each is probed once, and its directory must be the service's to write."""

import re
from pathlib import Path

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.doctor.finding import Finding, properties
from bs_agent.agent.doctor.service import SERVICE
from bs_agent.agent.local_report import local_report
from bs_agent.agent.state import StateError
from bs_agent.agent.storages.mounts import Mounts
from bs_agent.contract.reasons import REASONS
from bs_agent.contract.report import CephReport, ImageStoreReport


async def storages(settings: AgentSettings) -> list[Finding]:
    """Probe every storage that this agent serves."""
    try:
        report = await local_report(settings, [])
    except (StateError, OSError) as error:
        cure = "Give the state directory to the user bs-agent, or restore it."
        return [Finding("FAIL", "journal", str(error), cure)]
    if not report.storages:
        return [Finding("ok", "storages", "none is connected yet")]
    found = [finding for storage in report.storages for finding in _findings(storage)]
    directories = [storage.url for storage in report.storages if isinstance(storage, ImageStoreReport)]
    return found + await _sandbox(directories)


def _findings(storage: ImageStoreReport | CephReport) -> list[Finding]:
    subject = "directory" if isinstance(storage, ImageStoreReport) else "pool"
    name = storage.url if isinstance(storage, ImageStoreReport) else storage.poolName
    reasons = storage.reasons()
    if not reasons:
        return [Finding("ok", subject, f"{name} is well, storage {storage.uuid}")]
    return [
        Finding(
            "FAIL" if REASONS[reason.code].blocking else "warn",
            subject,
            f"{name}: {reason.code}: {reason.details}",
            REASONS[reason.code].cure,
        )
        for reason in reasons
    ]


async def _sandbox(directories: list[str]) -> list[Finding]:
    """Look whether the unit lets the service write where its storages are, and lets go of their disks."""
    seen = await properties(SERVICE, "ProtectSystem", "ReadWritePaths")
    if seen.get("ProtectSystem") != "strict":
        return []
    writable = [Path(path.lstrip("-+")) for path in words(seen.get("ReadWritePaths", ""))]
    mounts = Mounts()
    found = []
    for directory in directories:
        above = [path for path in writable if Path(directory).is_relative_to(path)]
        mount = mounts.of(directory)
        wanted = quoted(f"-{directory if mount == '/' else mount}")
        if not above:
            cure = f"Add ReadWritePaths={wanted} with `systemctl edit {SERVICE}`, or name it in bs_agent_imagestores."
            found.append(Finding("FAIL", "sandbox", f"{directory} is read-only to the service", cure))
        elif mount != "/" and not any(Path(mount).is_relative_to(path) for path in above):
            cure = f"Let ReadWritePaths be {wanted} with `systemctl edit {SERVICE}`, or run site.yml again."
            text = f"the service keeps the disk at {mount} when the host unmounts it: {above[0]} lies below"
            found.append(Finding("warn", "sandbox", text, cure))
    return found


def words(text: str) -> list[str]:
    """Split what `systemctl show` prints of a list; words with blanks stand in quotes."""
    return [
        re.sub(r"\\(.)", r"\1", in_quotes) if in_quotes else bare
        for in_quotes, bare in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', text)
    ]


def quoted(word: str) -> str:
    """Write a word for a unit file."""
    escaped = re.sub(r'(["\\])', r"\\\1", word).replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\"'\\]", word) else escaped
