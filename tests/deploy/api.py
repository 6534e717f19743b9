"""The public API as the tests use it: by curl, on the host of the management node."""

import hashlib
import json
from typing import Any

from tests.beds.hosts import Host
from tests.deploy.playbooks import ADMIN_PASSWORD

URL = "http://127.0.0.1:8080/zstack/v1"


class Api:
    """A session of the administrator."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._session = ""

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send one request and return the answer, an error too."""
        if not self._session:
            password = hashlib.sha512(ADMIN_PASSWORD.encode()).hexdigest()
            login = {"logInByAccount": {"accountName": "admin", "password": password}}
            self._session = self._send("PUT", "/accounts/login", login)["inventory"]["uuid"]
        return self._send(method, path, body)

    def storages(self) -> dict[str, dict[str, Any]]:
        """Return all backup storages by name."""
        return {storage["name"]: storage for storage in self.call("GET", "/backup-storage")["inventories"]}

    def statuses(self) -> dict[str, str]:
        """Return the status of each backup storage by name."""
        return {name: storage["status"] for name, storage in self.storages().items()}

    def _send(self, method: str, path: str, body: object) -> dict[str, Any]:
        data = ["--data-binary", "@-"] if body is not None else []
        header = f"'Authorization: OAuth {self._session}'"
        words = [
            "curl",
            "--silent",
            "--max-time",
            "60",
            "--request",
            method,
            "--header",
            header,
            *data,
            f"'{URL}{path}'",
        ]
        answer = self._host.output(*words, stdin=json.dumps(body) if body is not None else "")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded
