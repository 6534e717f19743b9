"""The agent protocol as the tests use it: by curl, on the agent's own host."""

import json
from typing import Any

from tests.beds.hosts import Host

URL = "https://127.0.0.1:7765"


def enroll(host: Host) -> str:
    """Return a new token of the agent."""
    return str(json.loads(host.output("bs-agent enroll --label test --json"))["token"])


def ask(host: Host, method: str, path: str, token: str, body: object = None) -> Any:
    """Send one request and return the answer, an error too."""
    words = ["curl", "--silent", "--insecure", "--max-time", "30", "--request", method]
    words += ["--header", f"'Authorization: Bearer {token}'", f"'{URL}{path}'"]
    if body is not None:
        words += ["--header", "'Content-Type: application/json'", "--data-binary", "@-"]
    return json.loads(host.output(*words, stdin=json.dumps(body) if body is not None else ""))
