"""Backup and restore, another key, another address of a host: by the commands, beside a node that runs."""

import asyncio
import hashlib
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bs_agent.daemon.certificate import fingerprint
from bs_agent.management.secrets import KEY_FILE, Keyring
from bs_agent.management.store.database import Database
from bs_agent.management.store.schema import any_secret
from bs_agent.management.store.upkeep import SECRETS
from tests.beds import warm
from tests.beds.agent import ROOT, AgentProcess
from tests.beds.certificate import ensure_certificate, renew_certificate
from tests.beds.fleet import until
from tests.beds.node import NodeClient, NodeProcess, client_of

pytestmark = pytest.mark.asyncio

POLL = {"interval": 1, "timeout": 1}
SECONDS = 60


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", {"probe": {"interval": 3, "deadline": 3}}) as running:
        yield running


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path / "node", {"poll": POLL}) as running:
        yield running


@pytest_asyncio.fixture
async def client(node: NodeProcess) -> AsyncIterator[NodeClient]:
    async with client_of(node) as logged_in:
        yield logged_in


async def command(node: NodeProcess, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run bs-management with the node's configuration."""
    line = [sys.executable, "-m", "bs_agent.management.main", *map(str, words), "--config", str(node.config)]
    return await asyncio.to_thread(warm.run, line, cwd=ROOT, timeout=SECONDS)


def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


async def connected(client: NodeClient, uuid: str) -> None:
    """Wait until a storage is Connected."""

    async def there() -> bool:
        return await client.status(uuid) == ("Connected", "")

    await until(there, lambda: client.status(uuid))


def files(folder: Path) -> list[str]:
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


async def test_a_backup_of_a_running_node_is_restored_elsewhere(
    tmp_path: Path, agent: AgentProcess, node: NodeProcess, client: NodeClient
) -> None:
    uuid = await client.add(images(tmp_path), agent.enroll().code)
    saved = tmp_path / "saved.tar"
    done = await command(node, "backup", saved)
    assert done.returncode == 0, done.stderr
    assert saved.stat().st_mode & 0o777 == 0o600
    assert files(tmp_path) == ["saved.tar"], "nothing else is left"
    again = await command(node, "backup", saved)
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    node.stop()

    elsewhere = NodeProcess(tmp_path / "elsewhere", {"poll": POLL})
    elsewhere.password = node.password
    restored = await command(elsewhere, "restore", saved)
    assert restored.returncode == 0, restored.stderr
    for name in ("management.db", KEY_FILE):
        assert (elsewhere.folder / name).stat().st_mode & 0o777 == 0o600
    with elsewhere:
        async with client_of(elsewhere) as there:
            await connected(there, uuid)
            reconnect = await there.call("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})
            assert "error" not in reconnect
        refused = await command(elsewhere, "restore", saved)
        assert (refused.returncode, "move it away first" in refused.stderr) == (1, True)


async def test_what_is_no_backup_changes_nothing(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node")
    nothing = await command(node, "backup", tmp_path / "saved.tar")
    assert (nothing.returncode, "nothing to save" in nothing.stderr) == (1, True)
    noise, empty, strange = tmp_path / "noise", tmp_path / "empty.tar", tmp_path / "strange.tar"
    noise.write_bytes(random.Random(1).randbytes(4096))  # noqa: S311  the same each time, no secret
    with tarfile.open(empty, "w"):
        pass
    with tarfile.open(strange, "w") as archive:
        archive.add(noise, "management.db")
        archive.add(noise, KEY_FILE)
    for source, said in ((noise, "truncated|invalid|not"), (empty, "no backup"), (strange, "not a database")):
        done = await command(node, "restore", source)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert any(word in done.stderr for word in said.split("|")), done.stderr
    assert files(node.folder) == ["management.toml"]


async def test_a_key_that_does_not_fit_is_not_saved(
    tmp_path: Path, agent: AgentProcess, node: NodeProcess, client: NodeClient
) -> None:
    await client.add(images(tmp_path), agent.enroll().code)
    node.stop()
    (node.folder / KEY_FILE).unlink()
    Keyring.open(node.folder)
    done = await command(node, "backup", tmp_path / "saved.tar")
    assert (done.returncode, "is not the key" in done.stderr) == (1, True)
    assert not (tmp_path / "saved.tar").exists()


async def test_postgresql_is_left_to_its_own_tools(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "node", {"database": {"url": "postgresql://nobody@127.0.0.1/none"}})
    done = await command(node, "backup", tmp_path / "saved.tar")
    assert done.returncode == 1
    assert f"save it with pg_dump, and keep a copy of {node.folder}/{KEY_FILE}" in done.stderr


async def test_a_rotated_key_reaches_every_secret_and_the_running_node(
    tmp_path: Path, agent: AgentProcess, node: NodeProcess, client: NodeClient
) -> None:
    uuid = await client.add(images(tmp_path), agent.enroll().code)
    keys = [(node.folder / KEY_FILE).read_bytes().split()]
    for _ in range(2):
        done = await command(node, "rotate-key")
        assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "1"), done.stderr
        keys.append((node.folder / KEY_FILE).read_bytes().split())
        assert (node.folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
        # The node that runs decrypts the token anew, and a token that it encrypts now is read by the next rotation.
        code = agent.enroll().code
        again = {"reconnectBackupStorage": {}, "systemTags": [f"agentEnrollment::{code}"]}
        assert "error" not in await client.call("PUT", f"/backup-storage/{uuid}/actions", again)
    assert keys[1][1:] == keys[0][:1], "the key before it stays for what is under way"
    assert keys[2][1:] == keys[1][:1]
    node.stop()
    secret = await stored(node)
    with pytest.raises(Exception, match="is not the key"):
        Keyring(keys[0][0], "the first key").decrypt(secret)
    assert Keyring(keys[2][0], "the last key").decrypt(secret)
    node.start()
    await connected(client, uuid)


async def stored(node: NodeProcess) -> str:
    database = Database.connect(f"sqlite:///{node.folder}/management.db")
    secret = await any_secret(database)
    await database.close()
    assert secret
    return secret


async def test_every_secret_of_the_tables_is_known_to_the_rotation() -> None:
    assert {f"{column.table.name}.{column.name}" for column in SECRETS} >= {
        "agent.tokenSecret",
        "host.sshPasswordSecret",
    }
    assert all(len(column.table.primary_key.columns) == 1 for column in SECRETS)


async def test_a_host_that_moved_is_found_again(
    tmp_path: Path, agent: AgentProcess, node: NodeProcess, client: NodeClient
) -> None:
    uuid = await client.add(images(tmp_path), agent.enroll().code)
    nobody = await command(node, "move-host", "192.0.2.1", "192.0.2.2")
    assert (nobody.returncode, nobody.stderr.count("no agent is known as 192.0.2.1; nothing was changed")) == (1, 1)
    nowhere = await command(node, "move-host", "127.0.0.1", "not a host")
    assert (nowhere.returncode, "must be a host name or an IP address" in nowhere.stderr) == (1, True)
    done = await command(node, "move-host", "127.0.0.1", "localhost")
    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "1"), done.stderr
    assert (await client.storage(uuid))["hostname"] == "localhost"
    reconnect = await client.call("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})
    assert "error" not in reconnect
    again = await command(node, "move-host", "127.0.0.1", "localhost")
    assert (again.returncode, "no agent is known as 127.0.0.1" in again.stderr) == (1, True)


async def test_a_name_of_a_machine_that_has_several_is_given_up(
    tmp_path: Path, agent: AgentProcess, node: NodeProcess, client: NodeClient
) -> None:
    (second := tmp_path / "second").mkdir()
    first = await client.add(images(tmp_path), agent.enroll().code)
    other = await client.add(second, agent.enroll().code, hostname="localhost")
    done = await command(node, "move-host", "localhost", "127.0.0.1")
    assert (done.returncode, done.stdout.partition(" ")[0]) == (0, "1"), done.stderr
    for uuid in (first, other):
        assert (await client.storage(uuid))["hostname"] == "127.0.0.1"
        reconnect = await client.call("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})
        assert "error" not in reconnect
    assert (await command(node, "move-host", "localhost", "127.0.0.1")).returncode == 1


async def test_root_leaves_no_files_of_its_own_to_the_node(tmp_path: Path, node: NodeProcess) -> None:
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    saved = tmp_path / "saved.tar"
    assert (await command(node, "backup", saved)).returncode == 0
    node.stop()
    for path in (node.folder, *node.folder.rglob("*")):
        os.chown(path, 12345, 12345)
    for parent in node.folder.parents:
        if "pytest" in str(parent):
            parent.chmod(0o755)
    for words in (("rotate-key",), ("migrate",)):
        done = await command(node, *words)
        assert done.returncode == 0, done.stderr
    for name in ("management.db", KEY_FILE):
        (node.folder / name).unlink()
    for left in node.folder.glob("management.db-*"):
        left.unlink()
    assert (await command(node, "restore", saved)).returncode == 0
    assert {path.stat().st_uid for path in node.folder.rglob("*")} == {12345}
    shutil.rmtree(node.folder)


async def test_a_renewed_certificate_is_shown_after_a_reload_and_no_request_is_dropped(tmp_path: Path) -> None:
    certificate, key = await ensure_certificate(tmp_path / "tls", "node")
    before = fingerprint(certificate)
    server = {"tls_certificate": str(certificate), "tls_key": str(key)}
    with NodeProcess(tmp_path / "node", {"server": server}) as node:

        async def shown() -> str:
            pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", node.port))
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()

        async def renewed() -> bool:
            return await shown() == fingerprint(certificate)

        async def ask(client: NodeClient) -> None:
            while not enough.is_set():
                assert (await client.call("GET", "/backup-storage"))["inventories"] == []

        enough = asyncio.Event()
        async with client_of(node) as client:
            asking = [asyncio.create_task(ask(client)) for _ in range(3)]
            await renew_certificate(tmp_path / "tls", "node")
            assert await shown() == before, "nothing changes before the reload"
            node.signal(signal.SIGHUP)
            await until(renewed, shown)
            enough.set()
            await asyncio.gather(*asking)
            certificate.write_text("no certificate")
            node.signal(signal.SIGHUP)
            await until(lambda: asyncio.to_thread(lambda: "reload refused" in node.log.read_text()))
            assert await shown() not in {before, ""}
            assert (await client.call("GET", "/backup-storage"))["inventories"] == []
