"""Runs every benchmark of this folder, or those named: `python -m tests.bench agent query`."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DEADLINE = 1800.0


def main() -> int:
    """Run the benchmarks one after the other, so that none disturbs another."""
    known = sorted(path.stem for path in HERE.glob("[a-z]*.py"))
    wanted = sys.argv[1:] or known
    if unknown := sorted(set(wanted) - set(known)):
        print(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 1
    failed = []
    for name in wanted:
        print(f"\n== {name} ==", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], timeout=DEADLINE, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
