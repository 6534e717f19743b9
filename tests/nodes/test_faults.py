"""A node that is killed, asleep or cut off in the middle of calls: nothing is lost, nothing is done twice."""

from pathlib import Path

import pytest

from tests.beds.postgresql import PostgreSQL
from tests.nodes.cluster import cluster, eventually
from tests.nodes.faults import FAULTS, Fault, check, in_the_middle
from tests.nodes.network import Network
from tests.nodes.traffic import Traffic

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(900), pytest.mark.long]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.split()[0])
async def test_any_node_may_be_lost_in_the_middle_of_calls(
    tmp_path: Path, wires: Network, server: PostgreSQL, fault: Fault
) -> None:
    async with cluster(tmp_path, wires, server.new_database()) as made:
        traffic = Traffic(made)
        await traffic.settle(made.agents)
        await eventually(lambda: made.is_fair(made.nodes), made.shares)
        await in_the_middle(traffic, 200, fault, made.nodes[0])
        await check(traffic)
        assert server.deadlocks() == 0
