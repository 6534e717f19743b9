"""How long `bs-cli --help` takes, by the clock of who waits for it, beside `python -c pass`."""

import statistics
import subprocess
import sys
import time

from tests.bench.figures import Beside, Figure, at_most, tell

ROUNDS = 6 if "--quick" in sys.argv else 20

HELP = [sys.executable, "-m", "bs_agent.client.cli.cli", "--help"]
PYTHON, PROGRAM, COMMAND = "python -c pass", "bs-cli --help", "bs-cli QueryBackupStorage --help"
CASES = {
    PYTHON: [sys.executable, "-c", "pass"],
    PROGRAM: HELP,
    COMMAND: [*HELP[:-1], "QueryBackupStorage", "--help"],
}


def main() -> int:
    """Run the cases in turns, so that what else happens on the machine meets all of them."""
    took: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, command in CASES.items():
            began = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            took[name].append((time.perf_counter() - began) * 1000)
    middle = {name: statistics.median(found) for name, found in took.items()}
    spread = {name: (min(found), max(found)) for name, found in took.items()}
    bare = Beside(name="python", value=middle[PYTHON])
    kept = tell(
        Figure(name=PROGRAM, value=middle[PROGRAM], unit="ms", limit=bare, budget=at_most(150), spread=spread[PROGRAM]),
        Figure(name=COMMAND, value=middle[COMMAND], unit="ms", limit=bare, spread=spread[COMMAND]),
        Figure(name="imports of bs-cli --help", value=_import_time(), unit="ms"),
    )
    return 0 if kept else 1


def _import_time() -> float:
    """Return the milliseconds that importing the program takes, without the start of the interpreter."""
    found = []
    for _ in range(5):
        command = [sys.executable, "-X", "importtime", "-c", "import bs_agent.client.cli.cli"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        (line,) = [line for line in printed.splitlines() if line.endswith("| bs_agent.client.cli.cli")]
        found.append(int(line.split("|")[1]) / 1000)
    return statistics.median(found)


if __name__ == "__main__":
    sys.exit(main())
