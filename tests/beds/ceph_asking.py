"""A process that asks a Ceph cluster (see `ceph_asked.py`): a hundred commands take as long as ten of `ceph`."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

from tests.beds.place import Place

PROGRAM = Path(__file__).with_name("ceph_asked.py")


class CephAsking:
    """Asks a cluster by the configuration file; `stop` ends the process, and the next question starts another."""

    def __init__(self, place: Place, conf: str, seconds: float) -> None:
        self._place, self._conf, self._seconds = place, conf, seconds
        self._process: Popen[str] | None = None
        self._one_at_a_time = threading.Lock()

    def ask(self, words: Sequence[str], given: str = "", mon: str = "") -> str:
        """Return what a command prints as JSON.

        Raises:
            RuntimeError: the cluster refused it, or did not answer in time.
        """
        with self._one_at_a_time:
            request = json.dumps({"words": [*words], "given": given, "mon": mon})
            answer = json.loads(self._exchange(request) or '{"error": "no answer"}')
        if "error" in answer:
            raise RuntimeError(f"ceph {' '.join(words)}: {answer['error']}")
        return str(answer["output"])

    def stop(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _exchange(self, request: str) -> str:
        if self._process is None:
            # The bindings of the distribution are for its own Python.
            command = self._place.command(Place.python, str(PROGRAM), self._conf)
            self._process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True)
        process = self._process
        assert process.stdin
        assert process.stdout
        overdue = threading.Timer(self._seconds, process.kill)
        overdue.start()
        try:
            process.stdin.write(f"{request}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            overdue.cancel()
        if not answer:
            self.stop()
        return answer
