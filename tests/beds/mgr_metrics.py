"""The prometheus module of a cluster's mgr, which a site would scrape in the place of our report: a peer."""

import http.client
import time

from tests.beds.ceph import CephCluster
from tests.beds.node import free_port

_SECONDS = 60.0


def serve(cluster: CephCluster) -> int:
    """Let the mgr of a cluster serve its metrics on loopback, and return the port.

    Raises:
        RuntimeError: it does not in time; the message has the end of the mgr's log.
    """
    port = free_port()
    # The test clusters keep the module from being loaded at all.
    cluster.conf.write_text(cluster.conf.read_text().replace(",prometheus,", ","))
    cluster.kill("mgr.x")
    cluster.restart("mgr.x")
    cluster.settle()
    # What it says would be up to 15 seconds old.
    for key, value in (("server_addr", "127.0.0.1"), ("server_port", str(port)), ("cache", "false")):
        cluster.wait_for(lambda: _set(cluster, f"mgr/prometheus/{key}", value))  # noqa: B023  asked at once
    cluster.ceph("mgr", "module", "enable", "prometheus", "--force")
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        try:
            if scrape(port):
                return port
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)
    log = cluster.folder / "mgr.x.log"
    raise RuntimeError(f"the mgr serves no metrics: {log.read_text()[-500:] if log.exists() else 'no log'}")


def _set(cluster: CephCluster, option: str, value: str) -> bool:
    """Set an option of a module, once the mons have heard of it from the mgr."""
    try:
        cluster.ceph("config", "set", "mgr", option, value)
    except RuntimeError:
        return False
    return True


def scrape(port: int) -> int:
    """Return how many bytes of metrics there are."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read()
        return len(body) if answer.status == 200 and b"ceph_" in body else 0
    finally:
        connection.close()
