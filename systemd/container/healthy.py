"""Tells by its status whether the management node in this container is ready, whether it speaks HTTP or HTTPS."""

import os
import ssl
import sys
import urllib.error
import urllib.request

SECONDS = 4.0


def main() -> int:
    """Ask the node; 1 is not ready."""
    address = os.environ.get("BS_MANAGEMENT_SERVER_LISTEN", "127.0.0.1:8080")
    port = address.rpartition(":")[2]
    own = ssl.create_default_context()
    own.check_hostname, own.verify_mode = False, ssl.CERT_NONE  # it is asked here, and nothing secret is sent
    said = ""
    for scheme in ("http", "https"):
        try:
            url = f"{scheme}://127.0.0.1:{port}/readyz"
            with urllib.request.urlopen(url, timeout=SECONDS, context=own if scheme == "https" else None):  # noqa: S310
                return 0
        except (urllib.error.URLError, OSError, ValueError) as error:
            said += f"{url}: {error}\n"
    print(said, end="", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
