"""Captures every answer that the agent reads: `python -m tests.ceph.captures.make` starts clusters and writes files.

There is one cluster of each release that the live tests run with: this machine's, and those of other Debians. Which
version it was is in the answers: `ceph_version` of `mon_metadata`, `version` of `socket_version`.

`healthy` and `broken` are the same cluster before and after: a quota is used up, a mon and the only mgr are dead.
"""

import json
import socket
import struct
import tempfile
from pathlib import Path
from typing import Any

from bs_agent.agent.storages import ceph_answers
from tests.beds.ceph import CephCluster
from tests.beds.debian import LATER, NEWEST, OLDEST
from tests.beds.place import HERE, Namespace, Place

FOLDER = Path(__file__).parent
CLUSTER_QUESTIONS: dict[str, ceph_answers.Question[Any]] = {
    "status": ceph_answers.STATUS,
    "df": ceph_answers.DF,
    "osd_dump": ceph_answers.OSD_DUMP,
    "crush_rules": ceph_answers.CRUSH_RULES,
    "osd_tree": ceph_answers.OSD_TREE,
    "osd_df": ceph_answers.OSD_DF,
    "quorum_status": ceph_answers.QUORUM_STATUS,
    "mon_metadata": ceph_answers.MON_METADATA,
}
SOCKET_QUESTIONS: dict[str, ceph_answers.Question[Any]] = {
    "mon_status": ceph_answers.MON_STATUS,
    "version": ceph_answers.MON_VERSION,
}
# What tells of the machine and not of Ceph.
MACHINE = frozenset({"container_name", "cpu", "device_ids", "device_paths", "devices", "hostname", "kernel_description",
                     "kernel_version", "mem_swap_kb", "mem_total_kb"})  # fmt: skip


def main() -> None:
    """Write the captures of all releases."""
    capture_release(HERE)
    for debian in (OLDEST, LATER, NEWEST):
        with tempfile.TemporaryDirectory() as folder, Namespace(Path(folder), debian.tree()) as place:
            capture_release(place)


def capture_release(place: Place) -> None:
    """Write the captures of the release of a place."""
    with (
        tempfile.TemporaryDirectory() as folder,
        CephCluster(Path(folder), osds=4, osd_bytes=1 << 30, place=place) as cluster,
    ):
        furnish(cluster)
        release = ".".join(ask_socket(cluster, "version")["version"].split(".")[:2])
        capture(cluster, FOLDER / release / "healthy", list(CLUSTER_QUESTIONS))
        break_things(cluster)
        capture(cluster, FOLDER / release / "broken", [name for name in CLUSTER_QUESTIONS if name != "osd_df"])


def furnish(cluster: CephCluster) -> None:
    """Make pools of every kind: sizes 2 and 3, erasure coded 2+1, a class of devices, a root of its own, a quota."""
    for osd, place in enumerate(("host=left", "host=left", "host=right", "host=apart")):
        root = "root=archive" if osd == 3 else "root=default"
        cluster.ceph("osd", "crush", "set", f"osd.{osd}", "1.0", root, place)
    for osd, device_class in ((0, "hdd"), (1, "hdd"), (2, "ssd"), (3, "hdd")):
        cluster.ceph("osd", "crush", "rm-device-class", str(osd))
        cluster.ceph("osd", "crush", "set-device-class", device_class, str(osd))
    cluster.ceph("osd", "crush", "rule", "create-replicated", "spinning", "default", "osd", "hdd")
    cluster.ceph("osd", "crush", "rule", "create-replicated", "archive", "archive", "host")
    cluster.ceph("osd", "erasure-code-profile", "set", "two-and-one", "k=2", "m=1", "crush-failure-domain=osd")
    cluster.pool("size-2")
    cluster.pool("size-3", "--size=3")
    cluster.pool("coded", "erasure", "two-and-one")
    cluster.pool("spinning", "replicated", "spinning")
    cluster.pool("archive", "replicated", "archive")
    cluster.pool("limited")
    cluster.ceph("osd", "pool", "set", "archive", "size", "1", "--yes-i-really-mean-it")
    cluster.ceph("osd", "pool", "set-quota", "limited", "max_bytes", str(8 << 20))
    cluster.settle()
    fill(cluster, ["size-2", "size-3", "coded", "spinning", "archive", "limited"], 6 << 20)


def fill(cluster: CephCluster, pools: list[str], size: int) -> None:
    """Write one object into each pool and wait until Ceph has counted every copy of it."""
    before = stored(cluster)
    for pool in pools:
        cluster.rados("-p", pool, "put", f"object-{before[pool]}", "-", stdin="x" * size)
    cluster.wait_for(lambda: all(stored(cluster)[pool] == before[pool] + size for pool in pools))


def stored(cluster: CephCluster) -> dict[str, int]:
    """Return how many bytes `df` has counted in each pool."""
    return {pool["name"]: pool["stats"]["stored"] for pool in cluster.ceph("df", "detail")["pools"]}


def break_things(cluster: CephCluster) -> None:
    """Use up the quota, then lose a mon and the mgr."""
    fill(cluster, ["limited"], 6 << 20)
    cluster.wait_for(lambda: "POOL_FULL" in cluster.ceph("status")["health"]["checks"])
    cluster.kill("mon.c")
    cluster.kill("mgr.x")
    cluster.wait_for(lambda: {"MGR_DOWN", "MON_DOWN"} <= set(cluster.ceph("status")["health"]["checks"]))


def capture(cluster: CephCluster, folder: Path, names: list[str]) -> None:
    """Write one file for each answer."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        words = [word for key, word in CLUSTER_QUESTIONS[name].words.items() if key != "format"]
        write(folder / f"{name}.json", cluster.ceph(*" ".join(words).split()))
    for name in SOCKET_QUESTIONS:
        write(folder / f"socket_{name}.json", ask_socket(cluster, name))


def ask_socket(cluster: CephCluster, name: str) -> Any:
    """Ask the admin socket of mon a: a command that ends with NUL, then a length and the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(cluster.admin_socket("a")))
        connection.sendall(json.dumps(SOCKET_QUESTIONS[name].words).encode() + b"\0")
        with connection.makefile("rb") as answer:
            (length,) = struct.unpack(">I", answer.read(4))
            return json.loads(answer.read(length))


def write(path: Path, answer: Any) -> None:
    """Write an answer without what tells of the machine."""
    path.write_text(json.dumps(without_machine(answer), separators=(",", ":")) + "\n")


def without_machine(answer: Any) -> Any:
    """Return the answer without the keys that tell of the machine."""
    if isinstance(answer, dict):
        return {key: without_machine(value) for key, value in answer.items() if key not in MACHINE}
    return [without_machine(entry) for entry in answer] if isinstance(answer, list) else answer


if __name__ == "__main__":
    main()
