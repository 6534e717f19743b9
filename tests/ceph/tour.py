"""A Ceph storage from add to delete on a live site, told by curl: each call and what the API answers.

Run it by hand: `python -m tests.ceph.tour`. It is no measurement; beside each wait stands how long it was.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.beds.ceph import MISSING, CephCluster
from tests.beds.ceph_site import CephSite

DEADLINE = 90.0
POOL = "images"
B, C = "127.0.0.2", "127.0.0.3"
SHOWN = (
    "status", "statusReason", "totalCapacity", "availableCapacity", "poolAvailableCapacity", "poolMaxAvail",
    "capacityStale",
)  # fmt: skip


class Tour:
    """Calls the API by curl and prints what is said."""

    def __init__(self, site: CephSite) -> None:
        self.site = site
        self.session = ""
        body = {"logInByAccount": {"accountName": "admin", "password": site.node.password}}
        self.session = self.curl("PUT", "/accounts/login", body, quiet=True)["inventory"]["uuid"]

    def curl(self, method: str, path: str, body: object = None, *, quiet: bool = False) -> dict[str, Any]:
        """Send a request; print it and its answer, without what would log somebody in."""
        command = ["curl", "-gs", "-X", method, f"{self.site.node.url}/zstack/v1{path}"]
        shown = f"curl -X {method} '{self.site.node.url}/zstack/v1{path}'"
        if self.session:
            command += ["-H", f"Authorization: OAuth {self.session}"]
        if body is not None:
            command += ["-d", json.dumps(body)]
            shown += f" -d '{_without_codes(json.dumps(body))}'"
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        answer: dict[str, Any] = json.loads(done.stdout)
        if not quiet:
            print(f"$ {shown}\n{json.dumps(answer, indent=2)}\n", flush=True)
        return answer

    def storage(self, uuid: str) -> dict[str, Any]:
        """Return a storage as it is."""
        found: dict[str, Any] = self.curl("GET", f"/backup-storage/{uuid}", quiet=True)["inventories"][0]
        return found

    def await_and_show(self, uuid: str, what: str, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the storage is so, and show the part that has changed."""
        began = time.monotonic()
        while not condition(shown := self.storage(uuid)):
            if time.monotonic() - began > DEADLINE:
                sys.exit(f"the storage does not become so: {json.dumps(shown, indent=2)}")
            time.sleep(0.1)
        print(f"# {what}; shown after {time.monotonic() - began:.1f} s")
        print(f"$ curl '{self.site.node.url}/zstack/v1/backup-storage/{uuid}'    # in part")
        part = {name: shown[name] for name in SHOWN if name in shown}
        part["mons"] = [
            {name: mon[name] for name in ("hostname", "status", "statusReason") if name in mon} for mon in shown["mons"]
        ]
        print(f"{json.dumps(part, indent=2)}\n", flush=True)


def main() -> None:
    """Go through the life of a storage."""
    if MISSING:
        sys.exit(f"not installed: {', '.join(MISSING)}")
    with tempfile.TemporaryDirectory() as folder, CephCluster(Path(folder)) as cluster:
        cluster.pool(POOL)
        with CephSite(Path(folder, "site"), cluster) as site:
            live(Tour(site), site, cluster)


def live(tour: Tour, site: CephSite, cluster: CephCluster) -> None:
    """Add, query, kill a mon, kill a second, restore, reconnect, take a mon away and back, delete."""
    uuid = tour.curl("POST", "/backup-storage/ceph", site.added(poolName=POOL))["inventory"]["uuid"]
    cluster.kill("mon.b")
    tour.await_and_show(uuid, "mon b is killed", lambda seen: _mons(seen)[B] == "Disconnected")
    cluster.kill("mon.c")
    tour.await_and_show(
        uuid, "mon c is killed too: no quorum", lambda seen: seen["status"] == "Disconnected" and seen["capacityStale"]
    )
    tour.curl("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})
    for mon in ("mon.b", "mon.c"):
        cluster.restart(mon)
    tour.await_and_show(uuid, "both are back", _is_well)
    tour.curl("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})
    mons = f"/backup-storage/ceph/{uuid}/mons"
    tour.curl("DELETE", f"{mons}?monHostnames={C}")
    tour.curl("POST", mons, {"params": {"monUrls": [C]}, "systemTags": site.tags(C)})
    tour.curl("DELETE", f"/backup-storage/{uuid}?deleteMode=Permissive")
    tour.curl("GET", f"/backup-storage/{uuid}")


def _mons(shown: dict[str, Any]) -> dict[str, str]:
    return {mon["hostname"]: mon["status"] for mon in shown["mons"]}


def _is_well(shown: dict[str, Any]) -> bool:
    return shown["status"] == "Connected" and set(_mons(shown).values()) == {"Connected"} and not shown["capacityStale"]


def _without_codes(body: str) -> str:
    parts = body.split("agentEnrollment::")
    return "agentEnrollment::".join(
        [parts[0], *(f"{part.split('::')[0]}::..." + part[part.index('"') :] for part in parts[1:])]
    )


if __name__ == "__main__":
    main()
