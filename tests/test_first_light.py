"""The whole path on an ImageStore, by curl: add, query, kill the agent, query, reconnect over SSH, query, delete.

`pytest -s tests/test_first_light.py` prints it as an operator would see it.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.beds.installed import Installed
from tests.beds.node import NodeProcess
from tests.beds.sshd import PASSWORD, WHY_NOT, Sshd

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"no sshd of our own: {WHY_NOT}")

DEADLINE = 60.0
JSON = "Content-Type: application/json;charset=UTF-8"


class Operator:
    """Somebody with curl and a session; what is typed and answered is shown, without secrets."""

    def __init__(self, node: NodeProcess) -> None:
        self.base = f"{node.url}/zstack/v1"
        self.session = ""
        body = {"logInByAccount": {"accountName": "admin", "password": node.password}}
        self.session = self.curl("PUT", "/accounts/login", body)["inventory"]["uuid"]

    def curl(self, method: str, path: str, body: object = None, *, show: bool = True) -> dict[str, Any]:
        """Send a request by curl; return the answer, an error too."""
        command = ["curl", "-sg", "-m", "60", "-H", JSON]
        command += ["-H", f"Authorization: OAuth {self.session}"] if self.session else []
        command += ["-X", method, *(["-d", json.dumps(body)] if body is not None else []), self.base + path]
        done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=DEADLINE)
        answer: dict[str, Any] = json.loads(done.stdout)
        if show:
            typed = " ".join(["$ curl -X", method, *([f"-d '{json.dumps(body)}'"] if body is not None else []), path])
            print(hidden(f"\n{typed}\n{json.dumps(answer, indent=2)}"))
        return answer

    def storage(self, uuid: str, *, show: bool = True) -> dict[str, Any]:
        """Query one storage."""
        found: dict[str, Any] = self.curl("GET", f"/backup-storage?q=uuid={uuid}", show=show)["inventories"][0]
        return found

    def wait_for(self, uuid: str, status: str) -> None:
        """Query until the storage has this status, and show it."""
        until = time.monotonic() + DEADLINE
        while self.storage(uuid, show=False)["status"] != status:
            assert time.monotonic() < until, f"it does not become {status}"
            time.sleep(0.1)
        self.storage(uuid)


def hidden(text: str) -> str:
    """Return the text without what must not be printed."""
    return re.sub(r'("password": ")[^"]*', r"\1...", text)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd") as running:
        yield running


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Installed]:
    """A host whose agent is installed and runs."""
    installed = Installed(tmp_path / "host")
    with installed.process:
        yield installed
    installed.end_service()


def test_the_life_of_an_image_store(tmp_path: Path, server: Sshd, host: Installed) -> None:
    images = tmp_path / "zstack_imagestore"
    images.mkdir()
    (images / "image.qcow2").write_bytes(b"an image of somebody's")
    before = sorted(images.rglob("*"))
    quick = {"poll": {"interval": 1, "timeout": 1}, "ssh": host.settings()}
    with NodeProcess(tmp_path / "node", quick) as node:
        operator = Operator(node)
        parameters = {
            "name": "image-store", "hostname": "127.0.0.1", "username": "root", "password": PASSWORD,
            "sshPort": server.port, "url": str(images),
        }  # fmt: skip
        added = operator.curl("POST", "/backup-storage/image-store", {"params": parameters, "systemTags": []})
        uuid = added["inventory"]["uuid"]
        shown = operator.storage(uuid)
        assert shown["status"] == "Connected"
        assert 0 < shown["availableCapacity"] <= shown["totalCapacity"]

        print("\n# the agent is killed")
        host.process.kill()
        operator.wait_for(uuid, "Disconnected")
        refused = operator.curl("DELETE", f"/backup-storage/{uuid}?deleteMode=Permissive")
        assert (refused["error"]["code"], refused["error"]["cause"]["code"]) == ("SYS.1004", "BS.AgentUnreachable")

        reconnected = operator.curl("PUT", f"/backup-storage/{uuid}/actions", {"reconnectBackupStorage": {}})
        assert reconnected["inventory"]["status"] == "Connected"
        assert operator.storage(uuid)["status"] == "Connected"

        assert operator.curl("DELETE", f"/backup-storage/{uuid}?deleteMode=Permissive") == {}
        assert operator.curl("GET", f"/backup-storage?q=uuid={uuid}")["inventories"] == []
        assert PASSWORD not in node.log.read_text()
    assert sorted(images.rglob("*")) == before
