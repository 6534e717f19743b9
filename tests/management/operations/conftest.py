"""A real agent for the tests of this folder that want nothing special of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds.agent import AgentProcess


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", {"probe": {"interval": 4.0, "deadline": 4.0}}) as running:
        yield running
