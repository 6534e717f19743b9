"""The curl samples of the API page, run as they stand there apart from address and identifiers."""

import asyncio
import json
import shutil
from typing import Any

import pytest

from tests.management.server import Server, storage_row

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (apt-get install curl)"),
]

HEADERS = '-H "Content-Type: application/json;charset=UTF-8" \\\n-H "Authorization: OAuth SESSION" \\\n'
SAMPLES = {
    "query": f"curl {HEADERS}-X GET http://localhost:8080/zstack/v1/backup-storage?q=uuid=STORAGE",
    "get": f"curl {HEADERS}-X GET http://localhost:8080/zstack/v1/backup-storage/STORAGE",
    "reconnect": f"curl {HEADERS}-X PUT -d '{{\"reconnectBackupStorage\":{{}}}}' \\\n"
    "http://localhost:8080/zstack/v1/backup-storage/STORAGE/actions",
    "delete": f"curl {HEADERS}-X DELETE http://localhost:8080/zstack/v1/backup-storage/STORAGE?deleteMode=Permissive",
}


async def _curl(server: Server, sample: str, uuid: str) -> Any:
    command = SAMPLES[sample].replace("localhost:8080", str(server.address))
    command = command.replace("curl", "curl -s -m 20", 1).replace("SESSION", server.session).replace("STORAGE", uuid)
    child = await asyncio.create_subprocess_exec("sh", "-c", command, stdout=asyncio.subprocess.PIPE)
    return json.loads((await asyncio.wait_for(child.communicate(), 30))[0])


async def test_the_samples_answer_as_the_page_says(server: Server) -> None:
    uuid = "435e61f882cf431bb4ae48246489a988"
    await server.store(storage_row(uuid=uuid))
    for sample in ("query", "get"):
        answer = await _curl(server, sample, uuid)
        assert answer.get("success") is True, answer
        assert [item["uuid"] for item in answer["inventories"]] == [uuid]
    reconnected = await _curl(server, "reconnect", uuid)
    assert reconnected["inventory"]["uuid"] == uuid
    assert await _curl(server, "delete", uuid) == {}
    assert (await _curl(server, "query", uuid))["inventories"] == []
