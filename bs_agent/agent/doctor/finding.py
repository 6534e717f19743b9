"""What the doctor's checks have in common: how a finding is written, and how a program is asked."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["ok", "warn", "FAIL"]

COMMAND_DEADLINE = 15.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found: the thing looked at, how it is, and what to do when it is not well."""

    level: Level
    subject: str
    text: str
    cure: str = ""

    def __str__(self) -> str:
        text = self.text.replace("\n", "; ")
        return f"{self.level:<5} {self.subject:<13} {text}" + (f" -> {self.cure}" if self.cure else "")


async def output(*command: str | Path) -> tuple[int, str]:
    """Run a program; return its exit status and what it printed. As in a shell, 127 is no program and 124 too late."""
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        return 127, f"{command[0]}: {error.strerror}"
    try:
        printed, _ = await asyncio.wait_for(child.communicate(), COMMAND_DEADLINE)
    except TimeoutError:
        child.kill()
        await child.wait()
        return 124, f"{command[0]} did not end within {COMMAND_DEADLINE:g} s"
    return child.returncode or 0, printed.decode(errors="replace").strip()


async def properties(unit: str, *names: str) -> dict[str, str]:
    """Return properties of a systemd unit; nothing where there is no systemd."""
    status, printed = await output("systemctl", "show", unit, *(f"--property={name}" for name in names))
    return dict(_pairs(printed)) if status == 0 else {}


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition("=")
        yield name, value
