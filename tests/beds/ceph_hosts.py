"""A Ceph cluster as it is installed: on booted hosts, each with a mon and an OSD, under the distribution's units."""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.beds.ceph_conf import UNUSED_MODULES
from tests.beds.hosts import Host

HEALTHY_SECONDS = 120.0
OSD_BYTES = 1 << 30
MODULES = ",".join(UNUSED_MODULES.split())
CONF = """\
[global]
fsid = {fsid}
mon host = {mon_host}
auth allow insecure global id reclaim = false
ms bind ipv6 = false
osd pool default size = 2
osd pool default min size = 1
mon data avail crit = 1
mon data avail warn = 1
mon warn on pool no redundancy = false
[mon]
mon tick interval = 1
[mgr]
mgr disabled modules = {modules}
mgr initial modules =
mgr tick period = 1
mgr stats period = 1
[osd]
osd objectstore = memstore
memstore device bytes = {osd_bytes}
osd mgr report interval = 1
"""
# The keys of all daemons are known beforehand: a mon that is made takes them over from its keyring.
ADMIN = {"mon": "allow *", "osd": "allow *", "mgr": "allow *", "mds": "allow *"}
MGR = {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"}
OSD = {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"}
MAKE_MON = """
set -e
systemd-tmpfiles --create ceph.conf
chmod 600 /etc/ceph/ceph.client.admin.keyring /root/mon.keyring
chown ceph /root/mon.keyring
install -o ceph -m 600 /root/mon.keyring /tmp/mon.keyring
monmaptool --create --clobber --fsid {fsid} --set-min-mon-release 16 {monmap} /tmp/monmap
chmod 644 /tmp/monmap
ceph-mon --mkfs --setuser ceph --setgroup ceph --monmap /tmp/monmap --keyring /tmp/mon.keyring -i {name}
rm /tmp/mon.keyring /root/mon.keyring /tmp/monmap
systemctl enable ceph.target ceph-mon.target ceph-osd.target ceph-mgr.target ceph-mon@{name}
systemctl start ceph-mon@{name}
"""
MAKE_MGR = """
set -e
chown -R ceph:ceph /var/lib/ceph/mgr/ceph-{name}
systemctl enable --now ceph-mgr@{name}
"""
MAKE_OSD = """
set -e
chown -R ceph:ceph /var/lib/ceph/osd/ceph-{number}
ceph-osd --mkfs --setuser ceph --setgroup ceph -i {number} --osd-uuid {uuid}
systemctl enable --now ceph-osd@{number}
"""


class HostsCluster:
    """A cluster over these hosts; what it is asked goes to the command line on the first of them."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self.fsid = str(uuid.uuid4())

    def start(self) -> None:
        """Make the cluster and wait until it is healthy."""
        rights = {"mon.": {"mon": "allow *"}, "client.admin": ADMIN}
        rights |= {f"mgr.{host.name}": MGR for host in self.hosts}
        rights |= {f"osd.{number}": OSD for number in range(len(self.hosts))}
        new = self.hosts[0].output(f"for key in $(seq {len(rights)}); do ceph-authtool --gen-print-key; done").split()
        keys = {entity: _keyring(entity, key, caps) for (entity, caps), key in zip(rights.items(), new, strict=True)}
        self._side_by_side(lambda host: self._make_mon(host, keys))
        # Numbers are given in this order, so not side by side.
        uuids = [str(uuid.uuid4()) for _ in self.hosts]
        for number, ident in enumerate(uuids):
            assert self.ceph("osd", "new", ident)["osdid"] == number
        self._side_by_side(lambda host: self._make_rest(host, keys, uuids))
        self.settle()

    def ceph(self, *words: str) -> Any:
        """Run a ceph command with JSON output."""
        answer = self.hosts[0].output("ceph", "--format=json", "--connect-timeout=30", *words)
        return json.loads(answer) if answer.strip() else None

    def pool(self, name: str) -> None:
        """Make a small pool and put something into it."""
        self.ceph("osd", "pool", "create", name, "8", "8", "--autoscale-mode=off")
        self.ceph("osd", "pool", "application", "enable", name, "rbd")
        self.hosts[0].run(f"head -c 4M /dev/urandom | rados -p {name} put an-image -")
        self.settle()

    def settle(self) -> None:
        """Wait until all mons are in quorum, all OSDs up, all placement groups clean, and the mgr counts them."""
        deadline = time.monotonic() + HEALTHY_SECONDS
        while not self._settled():
            assert time.monotonic() < deadline, self.hosts[0].output("ceph status; ceph health detail")
            time.sleep(0.5)

    def _settled(self) -> bool:
        status, numbers = self.ceph("status"), self.ceph("df")
        pools = self.ceph("osd", "dump")["pools"]
        states = {state["state_name"]: state["count"] for state in status["pgmap"]["pgs_by_state"]}
        return bool(
            len(status["quorum"]) == len(self.hosts)
            and status["mgrmap"]["available"]
            and status["osdmap"]["num_up_osds"] == len(self.hosts)
            and sum(states.values()) == states.get("active+clean", 0) == sum(pool["pg_num"] for pool in pools)
            and numbers["stats"]["num_osds"] == len(self.hosts)
            and {pool["id"] for pool in numbers["pools"]} == {pool["pool"] for pool in pools}
        )

    def _side_by_side(self, work: Callable[[Host], None]) -> None:
        with ThreadPoolExecutor(len(self.hosts)) as threads:
            list(threads.map(work, self.hosts))

    def _make_mon(self, host: Host, keys: dict[str, str]) -> None:
        addresses = [f"[v2:{other.address}:3300,v1:{other.address}:6789]" for other in self.hosts]
        conf = CONF.format(fsid=self.fsid, mon_host=" ".join(addresses), osd_bytes=OSD_BYTES, modules=MODULES)
        host.write("/etc/ceph/ceph.conf", conf)
        host.write("/etc/ceph/ceph.client.admin.keyring", keys["client.admin"], "0600")
        host.write("/root/mon.keyring", "".join(keys.values()), "0600")
        monmap = " ".join(_added(self.hosts, addresses))
        host.run("sh", stdin=MAKE_MON.format(fsid=self.fsid, monmap=monmap, name=host.name))

    def _make_rest(self, host: Host, keys: dict[str, str], uuids: Sequence[str]) -> None:
        number = self.hosts.index(host)
        host.write(f"/var/lib/ceph/mgr/ceph-{host.name}/keyring", keys[f"mgr.{host.name}"], "0600")
        host.write(f"/var/lib/ceph/osd/ceph-{number}/keyring", keys[f"osd.{number}"], "0600")
        host.run("sh", stdin=MAKE_MGR.format(name=host.name))
        host.run("sh", stdin=MAKE_OSD.format(number=number, uuid=uuids[number]))


def _added(hosts: Iterable[Host], addresses: Iterable[str]) -> list[str]:
    return [f"--addv {host.name} '{address}'" for host, address in zip(hosts, addresses, strict=True)]


def _keyring(entity: str, key: str, rights: dict[str, str]) -> str:
    caps = "".join(f'\tcaps {service} = "{right}"\n' for service, right in rights.items())
    return f"[{entity}]\n\tkey = {key}\n{caps}"
