"""Runs every benchmark of this folder, or those named, and ends with one table of what they have measured.

  python -m tests.bench                       all of them, some 20 minutes
  python -m tests.bench --quick               the shorter ones, in less rounds: under 3 minutes
  python -m tests.bench agent query --json figures.json

The status is 1 when a budget is missed, or when a benchmark fails.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import figures

DEADLINE = 1800.0
# In the order of the table. The quick ones know `--quick`.
QUICK = ("agent", "ceph_report", "polling", "query", "history", "console", "cli", "starts")
NO_BENCHMARKS = {"__init__", "__main__", "figures"}
_FOUND = {path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("test_")}
LONG = tuple(sorted(_FOUND - NO_BENCHMARKS - {*QUICK}))


@dataclass(frozen=True)
class Machine:
    """What the figures were measured on; `load` is the average of the minute before."""

    cores: int
    processor: str
    memory_gib: float
    load: float
    system: str
    python: str

    def __str__(self) -> str:
        """Return the line above the table."""
        return (
            f"{self.cores} cores, {self.processor}, {self.memory_gib:.0f} GiB, {self.system}, Python {self.python}; "
            f"load before: {self.load:.2f}"
        )


def this_machine() -> Machine:
    """Look at the machine."""
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = named[0].partition(":")[2].strip() if named else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.release()}"
    return Machine(cores, processor, round(memory, 1), os.getloadavg()[0], system, platform.python_version())


def arguments() -> argparse.Namespace:
    """Read the command line."""
    said = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=said[0],
        epilog=said[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("benchmark", nargs="*", help=f"of {', '.join(QUICK + LONG)}; all without")
    parser.add_argument("--quick", action="store_true", help="the shorter ones, in less rounds: under 3 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    found = parser.parse_args()
    if unknown := sorted({*found.benchmark} - {*QUICK, *LONG}):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(QUICK + LONG)}")
    if found.quick and (long := sorted({*found.benchmark} & {*LONG})):
        parser.error(f"{', '.join(long)} cannot be quick")
    return found


def main() -> int:
    """Run the benchmarks one after the other, so that none disturbs another."""
    asked, machine, began = arguments(), this_machine(), time.monotonic()
    wanted = asked.benchmark or (QUICK if asked.quick else QUICK + LONG)
    print(machine, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        gathered = Path(folder, "figures")
        failed = [name for name in wanted if not run(name, gathered, quick=asked.quick)]
        found = figures.read(gathered)
    missed = [figure.name for figure in found if figure.kept is False]
    seconds = round(time.monotonic() - began)
    print(f"\n{machine}; {seconds} s in all\n\n{figures.table(found)}\n")
    print(f"budgets: {len(missed)} missed: {'; '.join(missed)}" if missed else "budgets: all kept")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    if asked.json:
        written = {"machine": asdict(machine), "seconds": seconds, "quick": asked.quick, "failed": failed}
        written |= {"figures": [figure.as_written() for figure in found]}
        asked.json.write_text(json.dumps(written, indent=2) + "\n")
    return 1 if missed or failed else 0


def run(name: str, gathered: Path, *, quick: bool) -> bool:
    """Run one in a process of its own; tell whether it came to its end, its budgets kept or missed."""
    print(f"\n== {name} ==", flush=True)
    command = [sys.executable, "-m", f"tests.bench.{name}", *(["--quick"] if quick else [])]
    before = len(figures.read(gathered))
    environment = os.environ | {figures.GATHERED_IN: str(gathered)}
    try:
        status = subprocess.run(command, timeout=DEADLINE, check=False, env=environment).returncode
    except subprocess.TimeoutExpired:
        print(f"{name} took longer than {DEADLINE:.0f} s", file=sys.stderr)
        return False
    told = figures.read(gathered)[before:]
    # A benchmark that has missed a budget says so by its status, too.
    return status == 0 or any(figure.kept is False for figure in told)


if __name__ == "__main__":
    sys.exit(main())
