"""Prometheus' node_exporter as a process of its own, on loopback and with a certificate: a peer of our agent."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bs_agent.daemon.configuration import Address

PROGRAM = shutil.which("prometheus-node-exporter")
_DEADLINE = 30.0


@contextlib.contextmanager
def node_exporter(pem: Path, folder: Path) -> Iterator[tuple[Address, psutil.Process]]:
    """Run it while the context is open, with the certificate and the key of one file.

    Raises:
        RuntimeError: it is not installed, or does not listen in time.
    """
    if PROGRAM is None:
        raise RuntimeError("node_exporter is not installed (apt-get install prometheus-node-exporter)")
    config = folder / "node-exporter.yml"
    config.write_text(f"tls_server_config:\n  cert_file: {pem}\n  key_file: {pem}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = Address(*probe.getsockname())
    command = [PROGRAM, f"--web.listen-address={address}", f"--web.config.file={config}"]
    with (folder / "node-exporter.log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            _wait_for(address, process, folder / "node-exporter.log")
            yield address, psutil.Process(process.pid)
        finally:
            process.kill()


def _wait_for(address: Address, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(address, 1.0):
            return
        time.sleep(0.05)
    raise RuntimeError(f"node_exporter does not listen: {log.read_text()[-500:]}")
