"""A whole node over each database: whether it says that it is ready."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bs_agent.management.store.database import Database
from tests.beds.fleet import until
from tests.beds.node import NodeProcess
from tests.management.store.known import run

pytestmark = pytest.mark.asyncio


async def readiness(node: NodeProcess) -> tuple[int, dict[str, Any]]:
    async with aiohttp.request("GET", f"{node.url}/readyz") as answer:
        return answer.status, await answer.json()


async def reaches(node: NodeProcess, status: int) -> dict[str, Any]:
    async def there() -> bool:
        return (await readiness(node))[0] == status

    await until(there, lambda: readiness(node))
    return (await readiness(node))[1]


async def test_a_node_that_can_not_write_is_not_ready_and_says_for_how_long(tmp_path: Path, database_url: str) -> None:
    database = Database.connect(database_url)
    with NodeProcess(tmp_path / "node", {"database": {"url": database_url}}) as node:
        assert await readiness(node) == (200, {"status": "ready"})
        await run(database, "ALTER TABLE backup_storage RENAME TO hidden")
        said = await reaches(node, 503)
        assert said["status"] == "not ready"
        assert "has not been able to write for 0 s: " in said["reason"]
        assert "backup_storage" in said["reason"]
        await run(database, "ALTER TABLE hidden RENAME TO backup_storage")
        assert await reaches(node, 200) == {"status": "ready"}
    await database.close()
