"""One run of the probe program: a process that answers JSON lines, one request at a time."""

import asyncio
import contextlib
import json
import logging
import signal
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from bs_agent.agent.worker.answers import value_of
from bs_agent.contract.reasons import Reason, ReasonCode

log = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("probe.py")
MAX_LINE = 16 * 1024 * 1024
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}  # no CEPH_ARGS, no PYTHON*
_LOGGED_LINES = 50
_LOGGED_LENGTH = 500
_LONGEST_DETAILS = 2000


class Answer(NamedTuple):
    """What an operation returned, or why it was refused."""

    value: Any
    refusal: Reason | None


class ChildGoneError(Exception):
    """The process ended, or said something that is no answer."""


class Child:
    """A running probe program; whoever asks has to wait for the answer or kill it."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("the process was started without pipes")
        self._process = process
        self._requests, self._answers = process.stdin, process.stdout
        self._log = asyncio.create_task(_log_output(process.stderr, name), name=f"output of worker {name}")

    @classmethod
    async def start(cls, python: Path, name: str) -> "Child":
        """Start the program.

        Raises:
            ChildGoneError: it cannot be started.
        """
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                python,
                "-IB",  # isolated; and nothing is written beside the program
                PROGRAM,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env=_ENVIRONMENT,
                cwd="/",
                limit=MAX_LINE,
            )
        except OSError as error:
            raise ChildGoneError(f"{python} cannot be started: {error.strerror}") from error
        return cls(process, name)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether the kernel has let go of the process."""
        return self._process.returncode is not None

    async def ask(self, operation: str, parameters: dict[str, Any]) -> Answer:
        """Return the answer of one operation.

        Raises:
            ChildGoneError: the process ended before it answered, or said something that is no answer.
        """
        request = json.dumps({"operation": operation, "parameters": parameters}).encode() + b"\n"
        try:
            self._requests.write(request)
            await self._requests.drain()
            line = await self._answers.readline()
        except OSError:
            line = b""
        except ValueError:
            raise ChildGoneError(f"it answered with more than {MAX_LINE} bytes") from None
        if not line.endswith(b"\n"):
            await self.wait(1.0)
            raise ChildGoneError(f"it ended with {self._ending()}")
        return read_answer(line, operation)

    def kill(self) -> None:
        """Send SIGKILL; a process that is stuck in the kernel goes later."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def wait(self, deadline: float) -> bool:
        """Wait for the process to be gone; say whether it is."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), deadline)
        return self.gone

    async def stop(self, deadline: float) -> bool:
        """Let the process end, by force after half of the deadline or when cancelled; say whether it is gone."""
        self._requests.close()
        try:
            await self.wait(deadline / 2)
        finally:
            if not self.gone:
                self.kill()
        return self.gone or await self.wait(deadline / 2)

    def _ending(self) -> str:
        code = self._process.returncode
        if code is None or code >= 0:
            return f"status {code}"
        return signal.Signals(-code).name


def read_answer(line: bytes, operation: str = "") -> Answer:
    """Parse what the program has written on one line, in answer to an operation.

    Raises:
        ChildGoneError: it is no answer.
    """
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        raise ChildGoneError("it answered with something that is not JSON") from None
    if isinstance(said, dict) and said.keys() == {"value"}:
        with contextlib.suppress(ValidationError):
            return Answer(value_of(operation, said["value"]), None)
    error = said.get("error") if isinstance(said, dict) and said.keys() == {"error"} else None
    if isinstance(error, dict) and isinstance(error.get("details"), str):
        with contextlib.suppress(KeyError, ValueError):
            details = error["details"][:_LONGEST_DETAILS].encode(errors="backslashreplace").decode()
            return Answer(None, Reason(code=ReasonCode(error["code"]), details=details))
    raise ChildGoneError("it answered with something that is no answer")


async def _log_output(stream: asyncio.StreamReader, name: str) -> None:
    """Log what the program says on its standard error, up to a bound; the rest is read and dropped."""
    left = _LOGGED_LINES
    while chunk := await stream.read(4096):
        for line in chunk.decode(errors="replace").splitlines()[:left]:
            log.warning("worker %s: %s", name, line[:_LOGGED_LENGTH])
            left -= 1
            if not left:
                log.warning("worker %s: further output is dropped", name)
