"""A Ceph cluster as large as the field has them: the captured answers, many times over, said by a stand-in for rados.

The probe worker runs as it does on a host; only the module that it imports answers from files.
"""

import copy
import json
from pathlib import Path
from typing import Any

from tests.ceph.captured import FOLDER, RELEASES

OSDS, POOLS, UPMAPS, HOSTS = 10_000, 200, 10_000, 500
KIB = 8 << 30
STAND_IN = """
import json, pathlib
LIBRADOS_ALL_NSPACES = "all"
class Error(Exception): pass
class ObjectNotFound(Error): pass
class Rados:
    state = "configuring"
    def __init__(self, **options): pass
    def connect(self): self.state = "connected"
    def shutdown(self): pass
    def mon_command(self, command, _):
        name = json.loads(command)["prefix"].replace(" ", "_")
        return 0, (pathlib.Path(__file__).parent / (name + ".json")).read_bytes(), ""
"""
PYTHON = """#!/bin/sh
shift
exec /usr/bin/python3 -B -c 'import runpy, sys; sys.path.insert(0, "{folder}"); sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")' "$@"
"""


def make(folder: Path, osds: int = OSDS, pools: int = POOLS, upmaps: int = UPMAPS) -> Path:
    """Write the answers of such a cluster; return the Python whose rados says them."""
    folder.mkdir(parents=True)
    for name, answer in _answers(osds, pools, upmaps).items():
        (folder / f"{name}.json").write_text(json.dumps(answer))
    (folder / "rados.py").write_text(STAND_IN)
    python = folder / "python3"
    python.write_text(PYTHON.format(folder=folder))
    python.chmod(0o755)
    return python


def size(folder: Path) -> int:
    """Return how many bytes all the answers have."""
    return sum(path.stat().st_size for path in folder.glob("*.json"))


def _captured(name: str) -> Any:
    return json.loads((FOLDER / RELEASES[0] / "healthy" / f"{name}.json").read_text())


def _answers(osds: int, pools: int, upmaps: int) -> dict[str, Any]:
    status, df, dump = _captured("status"), _captured("df"), _captured("osd_dump")
    osd_df, tree = _captured("osd_df"), _captured("osd_tree")
    status["osdmap"] |= {"num_osds": osds, "num_up_osds": osds, "num_in_osds": osds}
    df["stats"] |= {"num_osds": osds, "total_bytes": osds * KIB * 1024, "total_avail_bytes": osds * KIB * 512}
    one_pool, one_usage = dump["pools"][1], df["pools"][1]
    dump["pools"] = [one_pool | {"pool": number, "pool_name": f"pool-{number}"} for number in range(pools)]
    df["pools"] = [copy.deepcopy(one_usage) | {"id": number, "name": f"pool-{number}"} for number in range(pools)]
    dump["osds"] = [dump["osds"][0] | {"osd": number} for number in range(osds)]
    dump["osd_xinfo"] = [dump["osd_xinfo"][0] | {"osd": number} for number in range(osds)]
    dump["pg_upmap_items"] = [
        {"pgid": f"1.{number:x}", "mappings": [{"from": number % osds, "to": (number + 1) % osds}]}
        for number in range(upmaps)
    ]
    one_osd = osd_df["nodes"][0] | {"kb": KIB, "kb_used": KIB // 2, "kb_avail": KIB // 2}
    osd_df["nodes"] = [one_osd | {"id": number, "name": f"osd.{number}"} for number in range(osds)]
    hosts = [
        {
            "id": -10 - host,
            "name": f"host-{host}",
            "type": "host",
            "type_id": 1,
            "children": [*range(host, osds, HOSTS)],
        }
        for host in range(min(HOSTS, osds))
    ]
    leaf = next(node for node in tree["nodes"] if node["type"] == "osd")
    root = {"id": -1, "name": "default", "type": "root", "type_id": 11, "children": [host["id"] for host in hosts]}
    leaves = [leaf | {"id": number, "name": f"osd.{number}"} for number in range(osds)]
    tree["nodes"] = [root, *hosts, *leaves]
    return {
        "status": status,
        "df": df,
        "osd_dump": dump,
        "osd_crush_rule_dump": _captured("crush_rules"),
        "osd_tree": tree,
        "osd_df": osd_df,
        "quorum_status": _captured("quorum_status"),
        "mon_metadata": _captured("mon_metadata"),
    }
