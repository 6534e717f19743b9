"""Make the file systems that the tests start from, where this machine has them not yet: `python -m tests.beds.images`.

The tests make what they need by themselves; to have it made before leaves them their time.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.beds import debian, hosts
from tests.beds.image import base_image

_WANTED: tuple[tuple[str, list[str], Callable[[], Path]], ...] = (
    ("the hosts' file system (Debian 12)", hosts.MISSING, base_image),
    ("the later release of Ceph (Debian 13)", debian.MISSING, debian.LATER.tree),
)


def _make(what: str, missing: list[str], make: Callable[[], Path]) -> bool:
    if missing:
        print(f"{what}: not made, because of what is not here: {', '.join(missing)}")
        return True
    print(f"{what}: made once on a machine, in some minutes ...", flush=True)
    try:
        print(f"{what}: {make()}", flush=True)
    except RuntimeError as error:
        print(f"{what}: {error}", file=sys.stderr)
        return False
    return True


def main() -> int:
    """Make both at once; the exit status is 1 when one of them cannot be made."""
    with ThreadPoolExecutor() as threads:
        return 0 if all(list(threads.map(lambda wanted: _make(*wanted), _WANTED))) else 1


if __name__ == "__main__":
    sys.exit(main())
