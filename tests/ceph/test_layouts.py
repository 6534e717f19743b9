"""Hosts whose daemons were put there by cephadm or by Rook: other paths, no /etc/ceph, a client that is not admin.

The daemons and the whole agent run where these paths are real, the agent by the Python and the librados of that place.
"""

import re
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bs_agent.contract.report import CEPH, CephReport
from tests.agent.asking import clean, report
from tests.beds.agent import AgentClient, AgentProcess, client_of
from tests.beds.ceph import CephCluster
from tests.beds.place import Namespace, Place
from tests.ceph.conftest import tree_of
from tests.ceph.test_client_caps import CAPS
from tests.ceph.watching import INTERVAL, UUID

pytestmark = pytest.mark.asyncio
TEMPLATES = Path(__file__).parents[2] / "ansible" / "roles" / "bs_agent" / "templates"
UNIT = TEMPLATES / "bs-agent-admin-socket.service.j2"
CLIENT, POOL = "client.bs-agent", "images"
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@dataclass(frozen=True)
class Layout:
    """Where the daemons have their data and their sockets, and what is told to the agent."""

    home: str
    sockets: str
    conf: str
    keyring: str
    run_dir: str = ""  # what the agent looks at by itself


LAYOUTS = {
    "cephadm": Layout(
        home="/var/lib/ceph/{fsid}",
        sockets="/run/ceph/{fsid}",
        conf="/var/lib/ceph/{fsid}/config/ceph.conf",
        keyring="/var/lib/ceph/{fsid}/config/ceph.client.bs-agent.keyring",
    ),
    "Rook": Layout(
        home="/var/lib/rook",
        sockets="/var/lib/rook/exporter",
        conf="/var/lib/rook/rook-ceph/rook-ceph.config",
        keyring="/var/lib/rook/rook-ceph/client.bs-agent.keyring",
        run_dir="/var/lib/rook/exporter",
    ),
}


@dataclass(frozen=True)
class LaidOut:
    """A cluster and an agent on a host of a layout."""

    cluster: CephCluster
    place: Namespace
    agent: AgentProcess
    sockets: str


@pytest.fixture(scope="module", params=LAYOUTS)
def host(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    ceph_release: str,
    places: Callable[[str], Place],
) -> Iterator[LaidOut]:
    places(ceph_release)  # where there is none, it says why
    with laid_out(LAYOUTS[request.param], tmp_path_factory.mktemp("host"), tree_of(ceph_release)) as made:
        yield made


@contextmanager
def laid_out(layout: Layout, folder: Path, tree: Path | None) -> Iterator[LaidOut]:
    fsid = str(uuid.uuid4())
    home, sockets, conf, keyring = (
        path.format(fsid=fsid) for path in (layout.home, layout.sockets, layout.conf, layout.keyring)
    )
    data, of_mon = folder / "data", folder / "data" / "host-a"
    (folder / "namespace").mkdir()
    of_mon.mkdir(parents=True)
    with Namespace(folder / "namespace", tree, {home: data, sockets: of_mon}) as place:
        made = CephCluster(
            data, mons=1, osds=2, objectstore="memstore", place=place, fsid=fsid, home=home, sockets=sockets
        )
        with made as cluster:
            cluster.pool(POOL)
            cluster.settle()
            for path, content in ((conf, minimal(cluster)), (keyring, client_keyring(cluster))):
                file = data / Path(path).relative_to(home)
                file.parent.mkdir(exist_ok=True)
                file.write_text(content)
            ceph = {"conf": conf, "client": CLIENT, "keyring": keyring}
            if layout.run_dir:
                ceph["run_dir"] = layout.run_dir
            settings: dict[str, dict[str, Any]] = {"ceph": ceph, "probe": {"interval": INTERVAL, "deadline": INTERVAL}}
            with AgentProcess(folder / "agent", settings, place=place) as agent:
                yield LaidOut(cluster, place, agent, sockets)


def minimal(cluster: CephCluster) -> str:
    """Return the configuration as cephadm and Rook write it for clients: where the mons are, and nothing else."""
    return f"[global]\n\tfsid = {cluster.fsid}\n\tmon_host = {cluster.network.vector(1, cluster.mon_ports[0])}\n"


def client_keyring(cluster: CephCluster) -> str:
    key = cluster.ceph("auth", "get-or-create", CLIENT, *CAPS)[0]["key"]
    return f"[{CLIENT}]\n\tkey = {key}\n"


@pytest_asyncio.fixture
async def client(host: LaidOut) -> AsyncIterator[AgentClient]:
    async with client_of(host.agent.address, host.agent.enroll()) as made:
        yield made


async def seen(client: AgentClient) -> CephReport:
    (storage,) = (await report(client)).storages
    assert isinstance(storage, CephReport)
    return storage


async def connect(client: AgentClient, pool: str, **parameters: object) -> None:
    answer = await client.ask("PUT", f"/v1/storages/{UUID}", {"type": CEPH, "poolName": pool, **parameters})
    assert answer.status == 200, answer.body


async def test_a_storage_lives_from_add_to_delete(host: LaidOut, client: AgentClient) -> None:
    cluster = host.cluster
    assert host.place.run("ls", "-A", "/etc/ceph") == ""
    await connect(client, "made", createPool=True, writeProbe=True, monAddress=cluster.mon_address("a"))
    shown = await seen(client)
    assert shown.reasons() == []
    assert shown.cluster.value
    assert (shown.cluster.value.fsid, shown.localMon.value and shown.localMon.value.name) == (cluster.fsid, "a")
    assert shown.cluster.value.totalCapacity == cluster.ceph("df")["stats"]["total_bytes"]
    assert {pool.name for pool in shown.pools.value or ()} == set(cluster.pools())
    await connect(client, "made", removePool=True)
    await clean(client, uuid=UUID)
    assert (await report(client)).storages == []
    assert "made" not in cluster.pools()


async def test_the_mon_speaks_by_its_socket_and_the_doctor_finds_all(host: LaidOut, client: AgentClient) -> None:
    await connect(client, POOL)
    with stale_socket(host):
        shown = await seen(client)
        assert (shown.reasons(), shown.localMon.value and shown.localMon.value.state) == ([], "leader")
    examined = host.agent.run("doctor").stdout
    assert f"{host.sockets}/ceph-mon.a.asok is open to the agent" in examined
    for subject in ("librados", "ceph.conf", "keyring"):
        assert [line.split()[0] for line in examined.splitlines() if f" {subject} " in f"{line} "] == ["ok"], examined
    await clean(client, uuid=UUID)


@contextmanager
def stale_socket(host: LaidOut) -> Iterator[None]:
    """Have what a mon of a purged cluster leaves beside ours."""
    left = host.cluster.run_dir("a") / "ceph-mon.0.asok"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(left))
    yield
    left.unlink()


async def test_what_the_role_does_opens_the_sockets_of_mons_to_come(host: LaidOut) -> None:
    """Daemons make their sockets for themselves, in a folder that is closed to others, and anew at each start."""
    folder, ours = host.sockets, f"{host.sockets}/ceph-mon.a.asok"
    script = role_script(folder).replace("user:bs-agent:", "user:nobody:")
    host.place.run("chmod", "0770", folder)
    with host.cluster.killed("mon.a"):
        pass
    host.cluster.settle()
    with pytest.raises(RuntimeError, match="PermissionError"):
        host.place.run(*NOBODY, Place.python, "-c", CONNECT, ours)
    host.place.run("sh", "-c", script)
    host.place.run(*NOBODY, Place.python, "-c", CONNECT, ours)
    changed = host.place.run("stat", "--format=%z", folder, ours)
    host.place.run("sh", "-c", script)
    assert host.place.run("stat", "--format=%z", folder, ours) == changed, "a change would trigger the path unit again"


def role_script(run_dir: str) -> str:
    """Return what the unit runs that the role puts on a host."""
    unit = UNIT.read_text().replace("{{ bs_agent_ceph_run_dir }}", run_dir).replace("\\\n", "")
    found = re.search(r"^ExecStart=/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    assert found
    return found[1]
