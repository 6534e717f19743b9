"""The database of three nodes is restarted, fails over, and is out of connections: calls say so, and all goes on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.beds import postgresql
from tests.beds.postgresql import PostgreSQL
from tests.nodes.cluster import cluster
from tests.nodes.databases import AWAY, befall, crowd_out, restart, url_of
from tests.nodes.faults import check
from tests.nodes.network import Network
from tests.nodes.traffic import Traffic

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600), pytest.mark.long]


@pytest.mark.parametrize("what", [restart, crowd_out])
async def test_calls_outlive_what_befalls_their_server(
    tmp_path: Path, wires: Network, server: PostgreSQL, what: Callable[[PostgreSQL], object]
) -> None:
    async with cluster(tmp_path, wires, server.new_database()) as made:
        traffic = Traffic(made, fails=AWAY)
        await traffic.settle(made.agents)
        await befall(traffic, 100, partial(what, server))  # type: ignore[arg-type]
        await check(traffic)


async def test_calls_outlive_a_failover(tmp_path: Path, wires: Network) -> None:
    with postgresql.postgresql(wires.whole) as first:
        name = first.new_database().rpartition("/")[2]
        with first.standby(synchronous=True) as second:
            async with cluster(tmp_path, wires, url_of(first, second, name=name)) as made:
                traffic = Traffic(made, fails=AWAY)
                await traffic.settle(made.agents)

                async def fail_over() -> None:
                    first.crash()
                    second.promote()

                await befall(traffic, 100, fail_over)
                await check(traffic)
