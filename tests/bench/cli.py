"""How long `bs-cli --help` takes beside `python -c pass`, and what its imports cost.

Budget: 150 ms for the start.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 20
BUDGET_MS = 150.0

HELP = [sys.executable, "-m", "bs_agent.client.cli.cli", "--help"]
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "bs-cli --help": HELP,
    "bs-cli COMMAND --help": [*HELP[:-1], "QueryBackupStorage", "--help"],
    "import of the SDK": [sys.executable, "-c", "import bs_agent.client.sdk"],
}


def main() -> None:
    """Run the cases in turns, so that what else happens on the machine meets all of them."""
    took: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, command in CASES.items():
            began = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            took[name].append((time.perf_counter() - began) * 1000)
    bare = statistics.median(took["python -c pass"])
    for name, found in took.items():
        budget = f"   (budget {BUDGET_MS:.0f})" if name == "bs-cli --help" else ""
        median = statistics.median(found)
        print(f"{name:<22} {median:6.0f} ms, best {min(found):.0f}, {median - bare:+.0f} beside python{budget}")
    print(f"{'imports of the help':<22} {_import_time():6.0f} ms, as -X importtime counts")


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
    main()
