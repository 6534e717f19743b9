"""Mon hosts that are entered over SSH: the second sample of the API page, and a log-in that does not fit."""

import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.beds.agent import ROOT
from tests.beds.ceph import CephCluster
from tests.beds.ceph_site import CephSite, SiteClient, client_of
from tests.beds.sshd import PASSWORD, WHY_NOT, Sshd

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(WHY_NOT), reason=f"no sshd of our own: {WHY_NOT}"),
]
CEPH = "/backup-storage/ceph"
# The fields of the second sample of the API page.
SAMPLE = {
    "attachedZoneUuids", "availableCapacity", "createDate", "description", "fsid", "lastOpDate", "mons", "name",
    "poolAvailableCapacity", "poolName", "poolReplicatedSize", "poolUsedCapacity", "state", "status", "totalCapacity",
    "type", "url", "uuid",
}  # fmt: skip
SAMPLE_MON = {
    "backupStorageUuid", "createDate", "hostname", "lastOpDate", "monAddr", "monPort", "monUuid", "sshPassword",
    "sshPort", "sshUsername", "status",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(cluster: CephCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One SSH server on the addresses of all mon hosts."""
    with Sshd(tmp_path_factory.mktemp("sshd"), addresses=cluster.mon_hosts) as running:
        yield running


@pytest.fixture(scope="module")
def site(cluster: CephCluster, server: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephSite]:
    """A site whose node enrols on the host that it has entered."""
    folder = tmp_path_factory.mktemp("site")
    program = folder / "bs-agent"
    program.write_text(
        "#!/bin/sh\nhost=$(echo $SSH_CONNECTION | cut -d' ' -f3)\n"
        f"cd {shlex.quote(str(ROOT))} && exec {shlex.quote(sys.executable)} -m bs_agent.agent "
        f'"$@" --config {shlex.quote(str(folder))}/$host/agent/agent.toml\n'
    )
    program.chmod(0o755)
    ssh = {"enroll_command": [str(program), "enroll"], "restart_command": ["true"]}
    with CephSite(folder, cluster, {"ssh": ssh}) as made:
        yield made


@pytest_asyncio.fixture
async def client(site: CephSite) -> AsyncIterator[SiteClient]:
    async with client_of(site) as made:
        yield made


async def test_three_mon_hosts_are_added_by_their_log_ins(
    site: CephSite, client: SiteClient, server: Sshd, cluster: CephCluster
) -> None:
    urls = [
        f"root:{PASSWORD}@{host}:{server.port}/?monPort={port}"
        for host, (_, port) in zip(cluster.mon_hosts, cluster.mon_ports, strict=True)
    ]
    wrong = [*urls[:2], urls[2].replace(PASSWORD, "wrong")]
    error = await client.refused("POST", CEPH, {"params": {"name": "ceph-bs", "monUrls": wrong}})
    assert (error["code"], "127.0.0.3" in error["details"]) == ("BS.SshAuthFailed", True)

    added = await client.ok("POST", CEPH, {"params": {"name": "ceph-bs", "description": "Test", "monUrls": urls}})
    shown = await client.storage(added["uuid"])
    assert shown.keys() >= SAMPLE
    assert (shown["type"], shown["url"], shown["poolName"]) == ("Ceph", "not used", f"bak-t-{shown['uuid']}")
    assert len(shown["mons"]) == 3
    for mon in shown["mons"]:
        assert mon.keys() == SAMPLE_MON
        assert (mon["sshUsername"], mon["sshPassword"], mon["sshPort"]) == ("root", "*****", server.port)
        port = cluster.mon_ports[cluster.mon_hosts.index(mon["hostname"])][1]
        assert (mon["monAddr"], mon["monPort"], mon["status"]) == (mon["hostname"], port, "Connected")
    fingerprint = quote(server.fingerprint)  # a plus in a query string is a space
    found = await client.call("GET", f"/backup-storage?q=__systemTag__=sshHostKey::127.0.0.2::{fingerprint}")
    assert [storage["uuid"] for storage in found["inventories"]] == [added["uuid"]]

    mon = shown["mons"][0]
    path = f"{CEPH}/mons/{mon['monUuid']}/actions"
    error = await client.refused("PUT", path, {"updateCephBackupStorageMon": {"sshPassword": "wrong"}})
    assert error["code"] == "BS.SshAuthFailed"
    updated = await client.ok("PUT", path, {"updateCephBackupStorageMon": {"sshPassword": PASSWORD}})
    assert {one["status"] for one in updated["mons"]} == {"Connected"}
    await client.ok("DELETE", f"/backup-storage/{shown['uuid']}?systemTags=removePool::{shown['poolName']}")
    assert shown["poolName"] not in cluster.pools()
    assert not any(PASSWORD.encode() in file.read_bytes() for file in _files(site.node.folder))


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
