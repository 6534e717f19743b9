"""Nodes are upgraded one after the other, over a change of the tables, and no call fails meanwhile."""

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.beds.node import NodeProcess
from tests.beds.place import REPOSITORY
from tests.beds.postgresql import PostgreSQL
from tests.nodes.cluster import Cluster, Node, cluster, eventually
from tests.nodes.faults import check
from tests.nodes.network import Network
from tests.nodes.traffic import Traffic

pytestmark = pytest.mark.timeout(600)

SETTINGS: dict[str, dict[str, Any]] = {"server": {"stop_notice": 8.0}, "jobs": {"finish": 60}}
SECOND = '''"""The second tables: a note beside each agent, and longer names of hosts."""

import sqlalchemy as sa
from alembic import op

revision, down_revision, oldest = "0002", "0001", "{oldest}"


def upgrade() -> None:
    """Add what programs of the first revision do not know, and change what they have prepared statements for."""
    op.add_column("agent", sa.Column("note", sa.String(100), nullable=False, server_default=""))
    op.add_column("job", sa.Column("note", sa.String(100), nullable=True))
    op.alter_column("backup_storage", "name", type_=sa.String(300, collation="C"))
    op.create_table("note", sa.Column("uuid", sa.String(32), primary_key=True))
'''


def next_version(folder: Path, oldest: str = "0001") -> Path:
    """Return where the code of the next version is: this one's, and a migration more."""
    code = folder / f"next-{oldest}"
    shutil.copytree(REPOSITORY / "bs_agent", code / "bs_agent", ignore=shutil.ignore_patterns("__pycache__"))
    versions = code / "bs_agent/management/store/migrations/versions"
    (versions / "0002_second.py").write_text(SECOND.format(oldest=oldest))
    return code


async def upgrade(made: Cluster, node: Node, code: Path) -> None:
    """Stop a node as systemd does, and start the other version in its place."""
    node.process.signal(signal.SIGTERM)
    assert await asyncio.to_thread(node.process.wait, 120) == 0
    node.process.code = code
    await made.start(node)
    others = [other for other in made.nodes if other is not node]
    await eventually(lambda: made.is_fair([*others, node]), made.shares)


async def revision(made: Cluster) -> str:
    async with made.database.reading() as connection:
        return str((await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar())


@pytest.mark.long
@pytest.mark.asyncio
async def test_nodes_are_upgraded_one_after_the_other_and_no_call_fails(
    tmp_path: Path, wires: Network, server: PostgreSQL
) -> None:
    code = next_version(tmp_path)
    async with cluster(tmp_path, wires, server.new_database(), count=9, settings=SETTINGS) as made:
        traffic = Traffic(made, fails=frozenset())
        await traffic.settle(made.agents)
        stop = asyncio.Event()
        running = asyncio.create_task(traffic.run(10**6, made.agents, stop))
        first, second, third = made.nodes
        await upgrade(made, first, code)
        assert await revision(made) == "0002"
        # One of the version before may still fail, and come back: it goes on with the newer tables.
        await upgrade(made, second, REPOSITORY)
        assert "tables are at 0002, with which this version goes on" in second.process.log.read_text()
        for node in (second, third):
            await upgrade(made, node, code)
        stop.set()
        await running
        assert not any(end for end in traffic.ends if not end.endswith(" well")), traffic.ends
        assert not traffic.refused, "nor was one hung up on, or answered by the load balancer itself"
        await check(traffic)


@pytest.mark.timeout(120)
def test_a_version_that_does_not_go_on_with_newer_tables_does_not_start(tmp_path: Path, server: PostgreSQL) -> None:
    url = server.new_database()
    settings = {"database": {"url": url}}
    old, refused = NodeProcess(tmp_path / "old", settings), "its tables are at 0002, and this version knows up to 0001"
    with (
        NodeProcess(tmp_path / "new", settings, code=next_version(tmp_path, oldest="0002")),
        pytest.raises(RuntimeError, match=refused),
    ):
        old.start()
