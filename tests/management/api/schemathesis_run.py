"""Runs schemathesis over the served OpenAPI document, alone on a network that has loopback only.

`unshare --net python -m tests.management.api.schemathesis_run FOLDER EXAMPLES` prints what was run and found. The calls
name hosts and web hooks at random, so nothing may be reachable from here.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import aiohttp

from tests.beds.node import NodeProcess, client_of

# 503 with an error is how the protocol says that a call failed, so it is in the document; a 500 is not.
CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
SECONDS = 400


async def _session(node: NodeProcess) -> str:
    async with client_of(node) as client:
        return client.session


async def _is_ready(node: NodeProcess) -> bool:
    """Ask without a log-in, which so many wrong passwords may have forbidden for a while."""
    async with aiohttp.ClientSession() as http, http.get(f"{node.url}/readyz") as answer:
        return answer.status == 200


def main() -> int:
    """Start a management node and let schemathesis at it; the exit status is 0 when all is well."""
    folder, examples = Path(sys.argv[1]), sys.argv[2]
    if len(Path("/proc/net/route").read_text().splitlines()) > 1:
        print("there is a route out of here: run this by `unshare --net`", file=sys.stderr)
        return 1
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with NodeProcess(folder, {"ssh": {"connect_timeout": 0.5}}) as node:
        session = asyncio.run(_session(node))
        command = [str(Path(sys.executable).with_name("st")), "run", f"{node.url}/zstack/v1/openapi.json"]
        command += ["--header", f"Authorization: OAuth {session}", "--checks", ",".join(CHECKS)]
        command += ["--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--seed", "7"]
        # A changed password would end the run's own way in.
        command += ["--exclude-name", "PUT /accounts/{uuid}"]
        command += ["--continue-on-failure", "--warnings", "off", "--no-color"]
        done = subprocess.run(command, check=False, timeout=SECONDS, cwd=folder)
        if not asyncio.run(_is_ready(node)):
            print("the node is not ready any more", file=sys.stderr)
            return 1
        unexpected = node.log.read_text().count("Traceback")
    print(f"the node is ready still; {unexpected} tracebacks in its log")
    return done.returncode or unexpected


if __name__ == "__main__":
    sys.exit(main())
