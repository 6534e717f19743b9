"""Backup and restore on PostgreSQL, by the very commands that the operators' guide names."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bs_agent.management.secrets import KEY_FILE
from tests.beds.agent import ROOT, AgentProcess
from tests.beds.node import NodeProcess, client_of
from tests.beds.postgresql import PostgreSQL
from tests.management.test_commands import POLL, SECONDS, command, connected, images

pytestmark = pytest.mark.asyncio

GUIDE = ROOT / "docs" / "operators.md"


def documented(program: str) -> list[str]:
    """Return the commands of the guide's example that this program is among."""
    blocks = re.findall(r"(?ms)^```console\n(.*?)^```", GUIDE.read_text())
    (block,) = (block for block in blocks if program in block)
    return [line.removeprefix("# ") for line in block.splitlines()]


class Site:
    """The guide's site: where its database, its node and its files are here."""

    def __init__(self, server: PostgreSQL, folder: Path) -> None:
        self.folder, self.port = folder, server.port
        url = f"postgresql://bs@127.0.0.1:{server.port}/bs"
        self.node = NodeProcess(folder / "node", {"poll": POLL, "database": {"url": url}})

    async def run(self, *commands: str) -> None:
        """Run commands of the guide in one shell."""
        script = "\n".join(commands)
        for theirs, ours in (
            ("@db.example/", f"@127.0.0.1:{self.port}/"),
            ("/root/", f"{self.folder}/"),
            ("/var/lib/bs-management/", f"{self.node.folder}/"),
            ("--owner=bs-management", f"--owner={os.geteuid()}"),
        ):
            script = script.replace(theirs, ours)
        done = await asyncio.to_thread(
            subprocess.run, ["sh", "-e"], input=script, text=True, timeout=SECONDS, check=False, capture_output=True
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"


@pytest.fixture
def site(tmp_path: Path, postgresql_server: PostgreSQL) -> Iterator[Site]:
    """An empty database of a role that is no superuser, as the guide makes it, and no node that runs."""
    yield (site := Site(postgresql_server, tmp_path))
    site.node.stop()


def modes(folder: Path) -> dict[str, int]:
    """Return the files in a folder with their permissions."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.is_file()}


async def test_what_the_guide_says_brings_everything_back(tmp_path: Path, site: Site) -> None:
    node, administer = site.node, f"--host=127.0.0.1 --port={site.port} --username=postgres"
    dump, restore = documented("pg_dump"), documented("pg_restore")
    assert (restore[0], restore[-1]) == ("systemctl stop bs-management", "systemctl start bs-management")
    await site.run(f"createuser {administer} bs", restore[1])
    node.start()
    with AgentProcess(tmp_path / "agent", {"probe": {"interval": 3, "deadline": 3}}) as agent:
        async with client_of(node) as client:
            uuid = await client.add(images(tmp_path), agent.enroll().code)
            await site.run(*dump[:2])
            assert (await command(node, "rotate-key")).returncode == 0
            await site.run(dump[0], *dump[2:])
        assert modes(tmp_path) == {"management-2026-11-24.dump": 0o600, "management-2026-11-24.key": 0o600}

        node.stop()
        await site.run(f"dropdb {administer} bs", f"rm {node.folder}/{KEY_FILE}")
        await site.run(*restore[1:3])
        with pytest.raises(RuntimeError, match="restore the key file that belongs to the database"):
            node.start()
        await site.run(*restore[3:-1])
        node.start()
        async with client_of(node) as client:
            await connected(client, uuid)
            reconnect = await client.call("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})
            assert "error" not in reconnect
            storages = (await client.call("GET", "/backup-storage"))["inventories"]
            assert [storage["uuid"] for storage in storages] == [uuid]
