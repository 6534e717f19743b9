"""HAProxy before the nodes, as docs/operators.md has it: only addresses and files are the test's own."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.beds.node import free_port
from tests.beds.place import REPOSITORY

_DEADLINE = 30.0


def missing() -> str:
    """Say why there can be none here; empty when there can."""
    return "" if shutil.which("haproxy") else "HAProxy is not installed (apt-get install haproxy)"


def documented() -> str:
    """Return the configuration that operators are told."""
    found = re.search(r"```haproxy\n(.*?)```", (REPOSITORY / "docs/operators.md").read_text(), re.DOTALL)
    assert found, "docs/operators.md has no HAProxy configuration"
    return found[1]


def configuration(port: int, nodes: Sequence[str], certificate: Path, key: Path) -> str:
    """Return the same for nodes at these addresses, all with one certificate, which is the balancer's own, too."""
    both = certificate.with_name("both.pem")
    both.write_text(certificate.read_text() + key.read_text())
    text, lines = documented(), []
    text = text.replace("bind :443 ssl crt /etc/haproxy/bs.pem", f"bind 127.0.0.1:{port} ssl crt {both}")
    text = text.replace("/etc/haproxy/bs-nodes.pem", str(certificate))
    for line in text.splitlines():
        if named := re.match(r"    server mn-(\d) \S+(.*)", line):
            number = int(named[1]) - 1
            lines += [f"    server mn-{number + 1} {nodes[number]}{named[2]}"]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


@contextmanager
def balancer(folder: Path, nodes: Sequence[str], certificate: Path, key: Path) -> Iterator[str]:
    """Run one while the context is open; yields its URL."""
    port, file = free_port(), folder / "haproxy.cfg"
    file.write_text(configuration(port, nodes, certificate, key))
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(file)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            until = time.monotonic() + _DEADLINE
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"HAProxy did not start: {(folder / 'haproxy.log').read_text()}")
                time.sleep(0.02)
            yield f"https://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait(_DEADLINE)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
