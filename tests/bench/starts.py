"""What each start costs in processor time beside the libraries that it cannot do without.

Run it by hand: `python -m tests.bench.starts`. Processor time, and not that of a clock, because neighbours on the
machine take none of it. Everything is measured as on a host: with modules that were compiled before.
"""

import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.figures import Beside, Budget, Figure, at_most, tell

ROUNDS = 12
QUICK_ROUNDS = 5
DEADLINE = 60.0
PYTHON = sys.executable
AGENT, MANAGEMENT, CLI = (
    [PYTHON, "-m", name] for name in ("bs_agent.agent", "bs_agent.management.main", "bs_agent.client.cli.cli")
)
LIBRARIES = "import aiohttp, pydantic"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

Cost = Callable[[], float]


def to_the_end(command: Sequence[str], said: bytes = b"") -> float:
    """Return the processor seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = subprocess.DEVNULL
    subprocess.run(command, input=said, stdout=quiet, stderr=quiet, check=True, timeout=DEADLINE, env=ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def to_ready(command: Sequence[str], clock: list[float]) -> float:
    """Return the processor seconds that a daemon takes until it tells that it serves; `clock` gets those of a clock."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{folder}/notify")
        manager.settimeout(DEADLINE)
        environment = ENVIRONMENT | {"NOTIFY_SOCKET": f"{folder}/notify"}
        quiet = subprocess.DEVNULL
        began = time.monotonic()
        with subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment) as daemon:
            try:
                while b"READY=1" not in manager.recv(4096):
                    pass
                clock.append(time.monotonic() - began)
                # The kernel's name for the clock of all threads of a process, see clock_getcpuclockid(3).
                return time.clock_gettime((~daemon.pid << 3) | 2)
            finally:
                daemon.send_signal(signal.SIGTERM)


def cases(folder: Path, clock: dict[str, list[float]]) -> dict[str, Cost]:
    """Return what is measured, by its name."""
    agent = ["--set", f"state.directory={folder}/agent", "--set", "server.listen=127.0.0.1:0"]
    node = ["--set", f"state.directory={folder}/node", "--set", f"database.url=sqlite:///{folder}/node/management.db"]
    serving = ["--set", "server.listen=127.0.0.1:0"]
    enroll = ["--set", f"state.directory={folder}/agent", "--set", "server.listen=127.0.0.1:7765"]
    ended = {
        LIBRARIES: [PYTHON, "-c", LIBRARIES],
        "import of the SDK": [PYTHON, "-c", "import bs_agent.client.sdk"],
        "import of the SDK and its connections": [
            PYTHON,
            "-c",
            "import bs_agent.client.sdk, bs_agent.client.wire.http",
        ],
        "bs-cli --help": [*CLI, "--help"],
        "bs-agent --version": [*AGENT, "--version"],
        "bs-agent enroll": [*AGENT, "enroll", "--label", "bench", *enroll],
        "bs-agent report": [*AGENT, "report", *agent],
        "bs-management check-config": [*MANAGEMENT, "check-config", *node],
        "bs-management migrate": [*MANAGEMENT, "migrate", *node],
        "bs-management set-password": [*MANAGEMENT, "set-password", *node, "admin"],
        "bs-management scrape-tokens list": [*MANAGEMENT, "scrape-tokens", "list", *node],
    }
    found: dict[str, Cost] = {
        name: lambda command=command: to_the_end(command, b"a-long-password\n")  # type: ignore[misc]  # its default is its type
        for name, command in ended.items()
    }
    for name, command in {
        "bs-agent run": [*AGENT, "run", *agent], "bs-management run": [*MANAGEMENT, "run", *node, *serving]
    }.items():  # fmt: skip
        found[name] = lambda name=name, command=command: to_ready(command, clock[name])  # type: ignore[misc]
    return found


BUDGETS: dict[str, Budget] = {"import of the SDK": at_most(1.25)}


def main() -> int:
    """Measure all in turns, so that what else happens on the machine meets all of them, and tell."""
    rounds = QUICK_ROUNDS if "--quick" in sys.argv else ROUNDS
    clock: dict[str, list[float]] = {"bs-agent run": [], "bs-management run": []}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("agent", "node"):
            Path(folder, name).mkdir()
        costs = cases(Path(folder), clock)
        spent: dict[str, list[float]] = {name: [] for name in costs}
        for cost in costs.values():
            cost()  # compiles, makes certificates and tables
        for times in clock.values():
            times.clear()
        for _ in range(rounds):
            for name, cost in costs.items():
                spent[name].append(cost())
    peer = statistics.median(spent[LIBRARIES])
    kept = True
    for name, found in spent.items():
        if name != LIBRARIES:
            ratios = [one / other for one, other in zip(found, spent[LIBRARIES], strict=True)]
            value = statistics.median(found)
            beside = Beside(name=LIBRARIES, value=peer * 1000)
            kept &= tell(
                Figure(
                    name=f"{name}, processor time", value=value * 1000, unit="ms", peer=beside, ratio=value / peer,
                    budget=BUDGETS.get(name), spread=(min(ratios), max(ratios)),
                )
            )  # fmt: skip
    for name, times in clock.items():
        budget = at_most(1.0) if name == "bs-agent run" else None
        spread = (min(times), max(times))
        kept &= tell(
            Figure(name=f"{name}, ready", value=statistics.median(times), unit="s", budget=budget, spread=spread)
        )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
