"""A network, a server and a cluster that the tests share."""

from collections.abc import Iterator

import pytest

from tests.beds import postgresql
from tests.nodes import balancer, network


@pytest.fixture(scope="session")
def wires() -> Iterator[network.Network]:
    if why := network.missing() or balancer.missing() or postgresql.missing():
        pytest.skip(why)
    with network.network(3) as made:
        yield made


@pytest.fixture(scope="session")
def server(wires: network.Network) -> Iterator[postgresql.PostgreSQL]:
    """A server that the tests here stop, fill and crash."""
    with postgresql.postgresql(wires.whole) as running:
        yield running
