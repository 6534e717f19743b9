"""The Python blocks of docs/sdk.md and of the README, run as they are printed against a real management node."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds.node import NodeProcess
from tests.client.terminal import ROOT, environment


@pytest.fixture(scope="module")
def management(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(tmp_path_factory.mktemp("management")) as node:
        yield node


@pytest.mark.parametrize("page", ["docs/sdk.md", "README.md"])
def test_the_python_of_a_page_runs(management: NodeProcess, tmp_path: Path, page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    configured = f"from bs_agent.client.sdk import configure\nconfigure(port={management.port})\n"
    program = configured + "\n".join(blocks)
    program = program.replace('"..."', repr(management.password)).replace("8080", str(management.port))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=100, check=False, env=environment(tmp_path), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sdk.1" not in done.stdout
