"""Asks a Ceph cluster what the `ceph` command line asks, with its libraries, but starts and learns the commands once.

The distribution's Python runs it, with the path of a configuration. Each line on standard input is a request in JSON:
the words of the command, what `-i -` would read, and a mon to ask if it must be that one. Each gets a line in return.
"""

import functools
import json
import sys
from typing import Any

import ceph_argparse
import rados

CONNECT_SECONDS = 20
# A mon that is not in a quorum yet keeps a client for this long before it tries another, else 3 seconds.
PATIENCE = {"client_mount_timeout": str(CONNECT_SECONDS), "mon_client_hunt_interval": "0.3"}
MON = ("mon", "")


class Asker:
    """Connects anew for each request, as the command line does: mons may have died meanwhile."""

    def __init__(self, conf: str) -> None:
        self._conf = conf
        self._signatures: dict[str, Any] = {}
        self._understand = functools.cache(self._validate)

    def answer(self, words: list[str], given: str, mon: str) -> dict[str, str]:
        """Return the output of a command, or its error."""
        options = PATIENCE | ({"mon_host": mon} if mon else {})
        cluster = rados.Rados(name="client.admin", conffile=self._conf, conf=options)
        try:
            cluster.connect(timeout=CONNECT_SECONDS)
            if not self._signatures:
                described = _send(cluster, {"prefix": "get_command_descriptions"})
                self._signatures = ceph_argparse.parse_json_funcsigs(described, "cli")
            return {"output": _send(cluster, self._understand(tuple(words)) | {"format": "json"}, given.encode())}
        except (rados.Error, ceph_argparse.ArgumentError, RuntimeError) as error:
            return {"error": str(error) or type(error).__name__}
        finally:
            cluster.shutdown()

    def _validate(self, words: tuple[str, ...]) -> dict[str, Any]:
        understood: dict[str, Any] = ceph_argparse.validate_command(self._signatures, list(words))
        if not understood:
            raise RuntimeError("no such command")
        return understood


def _send(cluster: Any, command: dict[str, Any], given: bytes = b"") -> str:
    status, output, said = ceph_argparse.json_command(cluster, target=MON, argdict=command, inbuf=given)
    if status:
        raise RuntimeError(said or f"status {status}")
    text: str = output.decode()
    return text


if __name__ == "__main__":
    asker = Asker(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(asker.answer(**json.loads(line))), flush=True)
