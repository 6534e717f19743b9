"""What the tests ask of an agent, in a line each."""

import asyncio
from pathlib import Path

from bs_agent.contract.report import Command, HostReport
from tests.agent.conftest import UUID
from tests.beds.agent import AgentClient, Answer

MARKER = ".bs-agent.json"


async def connect(client: AgentClient, path: Path | str, uuid: str = UUID, **more: object) -> Answer:
    return await client.ask(
        "PUT", f"/v1/storages/{uuid}", {"type": "ImageStoreBackupStorage", "url": str(path), **more}
    )


async def report(client: AgentClient) -> HostReport:
    answer = await client.ask("GET", "/v1/report?fresh=true")
    assert answer.status == 200
    return HostReport.model_validate(answer.body)


async def clean(client: AgentClient, command: int = 1, uuid: str = UUID, **more: object) -> Command:
    """Clean up and wait for the end."""
    answer = await client.ask("POST", f"/v1/storages/{uuid}/cleanup", {"commandUuid": f"{command:032x}", **more})
    assert answer.status == 202, answer.body
    for _ in range(6000):
        found = Command.model_validate((await client.ask("GET", f"/v1/commands/{command:032x}")).body)
        if found.finishedAt:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("the command does not end")


def refusal(answer: Answer) -> str:
    """Return the code of an error answer."""
    assert answer.status >= 400
    return str(answer.body["error"]["code"])


def move(source: Path, target: Path) -> None:
    """Move a file or directory out of the way, or back."""
    source.rename(target)
