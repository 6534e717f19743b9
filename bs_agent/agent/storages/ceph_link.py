"""The way to a Ceph cluster: through its worker, with questions that come at the same time travelling together.

A mon that is silent costs one fresh handle, which finds another mon; only then does a question fail.
"""

import asyncio
import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from bs_agent.agent.storages.base import Host
from bs_agent.agent.storages.ceph_answers import Question, Wanted
from bs_agent.contract.errors import StorageProblem, explain
from bs_agent.contract.reasons import Reason, ReasonCode

T = TypeVar("T")

# Of the deadline: what librados may take to connect, and again for one command. Two of these and a fresh process fit.
TIME_OUT_SHARE = 0.3
# After these the handle is no good: the next call begins with a fresh process.
SPOILING = frozenset({ReasonCode.CLUSTER_UNREACHABLE, ReasonCode.AUTH_FAILED, ReasonCode.CEPH_CONF_INVALID})


class CommandError(StorageProblem):
    """A command was refused; `number` is the errno, `capability` what a client needs of the mons for it."""

    def __init__(self, number: int, prefix: str, complaint: str, capability: str) -> None:
        details = f"`{prefix}`: {complaint or errno.errorcode.get(number, number)}"
        denied = number == errno.EACCES  # EPERM is for what nobody may do, such as a removal that the mons forbid
        if denied:
            details += f"; the client lacks the capability mon '{capability}'"
        super().__init__(Reason(code=ReasonCode.AUTH_FAILED if denied else ReasonCode.CEPH_FAULT, details=details))
        self.number = number


class Answers:
    """What the cluster said: to each question 0 and its answer, or the number of an error and a complaint."""

    def __init__(self, said: dict[Question[Any], tuple[int, str]]) -> None:
        self._said = said

    def silent(self, *, mgr: bool = False) -> bool | None:
        """Tell whether the mons, or the mgr, left a question unanswered; None if there was none for them."""
        codes = [code for question, (code, _) in self._said.items() if question.by_mgr is mgr]
        return errno.ETIMEDOUT in codes if codes else None

    def read(self, question: Question[T]) -> T:
        """Return the answer.

        Raises:
            StorageProblem: there is none, or it cannot be read.
        """
        code, text = self._said[question]
        if code == errno.ETIMEDOUT:
            who, reason = ("mgr", ReasonCode.MGR_DOWN) if question.by_mgr else ("mon", ReasonCode.CLUSTER_UNREACHABLE)
            raise StorageProblem.of(reason, f"no {who} answered `{question.name}`")
        if code:
            raise CommandError(code, question.name, text, "allow r")
        return read(question, text)


@dataclass(frozen=True, slots=True)
class _Batch:
    questions: set[Question[Any]]
    sending: asyncio.Task[Answers]


class CephLink:
    """One storage's way to its cluster; storages of one cluster share its worker."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._worker = host.workers.borrow(cluster_of_host(host))
        self._turn = asyncio.Lock()
        self.answered = float("-inf")  # when the mons answered the last time
        self.mgr_silent = False  # whether a question that the mgr has to answer was not answered the last time
        self._forming: _Batch | None = None
        self._sending: set[asyncio.Task[Answers]] = set()

    async def ask(self, *questions: Question[Any]) -> Answers:
        """Ask the cluster; who asks before the questions are sent shares one request, and gets all of its answers.

        Raises:
            StorageProblem: the cluster cannot be reached.
        """
        if self._forming is None:
            gathered: set[Question[Any]] = set()
            sending = asyncio.create_task(self._send(gathered), name="questions to ceph")
            sending.add_done_callback(self._sent)
            self._sending.add(sending)
            self._forming = _Batch(gathered, sending)
        batch = self._forming
        batch.questions.update(questions)
        try:
            return await asyncio.shield(batch.sending)
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if asking is None or asking.cancelling():
                raise
            # It is the questions that were cancelled, by `close`, and not who asks them.
            raise StorageProblem.of(ReasonCode.PROBE_TIMEOUT, "the storage was connected anew meanwhile") from None

    async def call(self, operation: str, **parameters: Any) -> Any:  # noqa: ANN401 RUF100  what the worker's JSON holds
        """Return what an operation of the worker returns.

        Raises:
            StorageProblem: it failed.
        """
        return await self._call(operation, self._host.deadline, parameters)

    async def command(self, **words: str | bool | int) -> None:
        """Have the mons change something.

        Raises:
            StorageProblem: they did not.
        """
        ((code, text),) = await self._asked([{**words, "format": "json"}], self._host.deadline)
        if code == errno.ETIMEDOUT:
            self.renew()
        if code:
            raise CommandError(code, str(words["prefix"]), text, f'allow command "{words["prefix"]}"')

    def renew(self) -> None:
        """Let the next call begin with a fresh process and a fresh handle."""
        self._worker.renew()

    async def close(self) -> None:
        """Give the worker back."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        await self._host.workers.give_back(self._worker)

    async def _send(self, gathered: set[Question[Any]]) -> Answers:
        async with self._turn:
            self._forming = None
            questions = list(gathered)
            loop = asyncio.get_running_loop()
            began = loop.time()
            answers = await self._exchange(questions, self._host.deadline)
            taken = loop.time() - began
            if answers.silent() and taken < self._host.deadline / 2:
                answers = await self._exchange(questions, self._host.deadline - taken)
            return answers

    async def _exchange(self, questions: list[Question[Any]], deadline: float) -> Answers:
        commands = [question.words for question in questions]
        wanted = [question.wanted for question in questions]
        said = await self._asked(commands, deadline, wanted)
        answers = Answers({question: (code, text) for question, (code, text) in zip(questions, said, strict=True)})
        if answers.silent():
            self.renew()
            return answers
        if answers.silent() is False:
            self.answered = asyncio.get_running_loop().time()
        if (silent := answers.silent(mgr=True)) is not None:
            self.mgr_silent = silent
        return answers

    async def _asked(
        self, commands: Sequence[dict[str, Any]], deadline: float, wanted: Sequence[Wanted] | None = None
    ) -> list[tuple[int, str]]:
        """Return an answer to each command: 0 and what was said, or the number of an error and a complaint."""
        parameters = {"commands": commands, "wanted": wanted or [True] * len(commands)}
        said: list[tuple[int, str]] = await self._call("ceph_ask", deadline, parameters)
        if len(said) != len(commands):
            self.renew()
            details = f"the probe worker gave {len(said)} answers to {len(commands)} questions"
            raise StorageProblem.of(ReasonCode.WORKER_CRASHED, details)
        return said

    async def _call(self, operation: str, deadline: float, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 RUF100  JSON
        settings = self._host.settings.ceph
        access = {
            "conf": str(settings.conf),
            "client": settings.client,
            "keyring": settings.keyring,
            "seconds": str(max(1, int(self._host.deadline * TIME_OUT_SHARE))),
        }
        try:
            return await self._worker.call(operation, deadline, access=access, **parameters)
        except StorageProblem as error:
            if error.reason.code in SPOILING:
                self.renew()
            raise

    def _sent(self, task: asyncio.Task[Answers]) -> None:
        self._sending.discard(task)
        # Whoever asked may be gone; then nobody else looks at the exception.
        if not task.cancelled():
            task.exception()


def cluster_of_host(host: Host) -> str:
    """Name the cluster that the host's configuration leads to."""
    return f"ceph {host.settings.ceph.conf}"


def read(question: Question[T], text: str) -> T:
    """Parse an answer.

    Raises:
        StorageProblem: it cannot be read.
    """
    try:
        return question.read(text)
    except ValidationError as error:
        details = f"the answer to `{question.name}` cannot be read: {explain(error)}"
        raise StorageProblem.of(ReasonCode.CEPH_FAULT, details) from None
