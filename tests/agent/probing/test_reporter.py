"""Who the agent says that it is: which boot of which machine, and with which certificate next."""

from pathlib import Path

import pytest
from hypothesis import given

from bs_agent.agent.config import AgentSettings
from bs_agent.agent.probing.reporter import read_boot_id
from bs_agent.contract.report import HostReport
from tests.agent.asking import report
from tests.agent.conftest import enrolled, running_agent
from tests.beds.agent import AgentProcess, client_of
from tests.odd_values import LINES

BOOT = "6fa8b9b4-0dc1-4f0f-8f2e-0c9d3b1c5a11"
KERNEL = Path("/proc/sys/kernel/random/boot_id")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (f"{BOOT}\n", BOOT),
        (BOOT.upper(), BOOT),
        ("", ""),
        ("\n", ""),
        (BOOT.replace("-", ""), ""),
        (f"{BOOT}\n{BOOT}", ""),
        (f"{BOOT[:-1]}é", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_the_name_of_this_boot(tmp_path: Path, content: str | bytes, found: str) -> None:
    (tmp_path / "boot_id").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read_boot_id(tmp_path / "boot_id") == found


@pytest.mark.parametrize("path", ["missing", ".", "/dev/zero", "a\0b"])
def test_a_kernel_that_does_not_say_it(tmp_path: Path, path: str) -> None:
    assert read_boot_id(tmp_path / path) == ""


@given(LINES | LINES.map(lambda line: BOOT.encode() + line))
def test_any_bytes_name_a_boot_or_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("boot") / "boot_id"
    file.write_bytes(content)
    assert read_boot_id(file) in {"", BOOT}


@pytest.mark.asyncio
async def test_a_clone_is_told_by_its_boot_alone(settings: AgentSettings, tmp_path: Path) -> None:
    file = tmp_path / "boot_id"
    probe = settings.probe.model_copy(update={"boot_id": file})
    for boot in (BOOT, BOOT.replace("6", "7")):
        file.write_text(boot)
        async with running_agent(settings.model_copy(update={"probe": probe})) as agent, enrolled(agent) as client:
            said = await report(client)
            assert (said.bootId, said.nextFingerprint) == (boot, agent.kept.next_fingerprint)


@pytest.mark.asyncio
async def test_a_report_without_a_server_says_the_same(tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "agent") as process:
        async with client_of(process.address, process.enroll()) as client:
            said = await report(client)
        alone = HostReport.model_validate_json(process.run("report").stdout)
    assert said.bootId == read_boot_id(KERNEL) != ""
    assert (alone.bootId, alone.nextFingerprint) == (said.bootId, said.nextFingerprint)
    assert said.nextFingerprint
