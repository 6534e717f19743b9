"""A fleet of two backup storages behind a small management node."""

from collections.abc import Iterator

import pytest

from bs_agent.client.sdk import Client
from tests.client.fleet import CEPH, STORE
from tests.client.node import SESSION, Node, running


@pytest.fixture
def node() -> Iterator[Node]:
    with running(Node(inventories=[dict(STORE), dict(CEPH)])) as node:
        yield node


@pytest.fixture
def client(node: Node) -> Client:
    return Client(url=node.url, session_id=SESSION, polling_interval=0.02, patience=3)
