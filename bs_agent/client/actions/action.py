"""What every action of the SDK has: parameters as attributes, a call in two styles, and a result that is typed."""

import asyncio
import difflib
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, cast

from pydantic import SecretStr, ValidationError

from bs_agent.client.actions.partial import parse_reply
from bs_agent.client.wire.calls import perform
from bs_agent.client.wire.encoding import encode
from bs_agent.client.wire.failures import CallFailed, bad_answer
from bs_agent.client.wire.transport import Client, Connection
from bs_agent.contract.declaration import Api, Parameters, QueryReply, Reply
from bs_agent.contract.errors import ApiError, ErrorCode, InvalidArgument, explain

R = TypeVar("R", bound=Reply)
Q = TypeVar("Q", bound=QueryReply)


@dataclass(frozen=True, slots=True)
class Result(Generic[R]):
    """What a call brought: `value`, or else `error`. `answer` is the JSON object as it came, empty after an error."""

    error: ErrorCode | None = None
    value: R | None = None
    answer: dict[str, Any] = field(default_factory=dict)

    def unwrap(self) -> R:
        """Return the value.

        Raises:
            CallFailed: there is an error instead.
        """
        if self.value is None:
            raise CallFailed(self.error or ErrorCode(code="sdk.1000", description="there is no value"))
        return self.value


class Action(Generic[R]):
    """A call of one API: built empty or from keywords, filled by attributes, checked when it is called.

    Without a `sessionId` of its own it uses the client's access key, or else the client's session.
    """

    api: ClassVar[Api]
    hashed: ClassVar[frozenset[str]] = frozenset()

    sessionId: str
    systemTags: list[str]
    userTags: list[str]

    def __init__(self, **parameters: Any) -> None:
        self.sessionId = ""
        for name, declared in self.api.parameters.model_fields.items():
            if not declared.is_required():
                value = declared.get_default(call_default_factory=True)
                setattr(self, name, value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in parameters.items():
            setattr(self, name, value)

    def __init_subclass__(cls) -> None:
        """Write the parameters into the docstring of a concrete action, so that `help()` shows them."""
        super().__init_subclass__()
        if "api" in vars(cls):
            lines = [f"    {name}: {_describe(cls.api, name)}" for name in cls.api.parameters.model_fields]
            cls.__doc__ = "\n".join([cls.__doc__ or "", "", "Parameters:", *lines])

    if not TYPE_CHECKING:  # a type checker that sees it would let every attribute pass

        def __setattr__(self, name: str, value: object) -> None:
            known = ["sessionId", *self.api.parameters.model_fields]
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise AttributeError(f"{type(self).__name__} has no parameter {name}; {hint}")
            super().__setattr__(name, value)

    def call(self, client: Client | None = None) -> Result[R]:
        """Make the call and wait for its result; without a client, the configured one is used.

        Raises:
            RuntimeError: an event loop runs in this thread: await `call_async` there.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.call_async(client))
        raise RuntimeError("an event loop runs in this thread: await call_async() instead of call()")

    async def call_async(self, client: Client | Connection | None = None) -> Result[R]:
        """Make the call inside an event loop; a `Connection` (of `Client.connect`) serves many, also side by side."""
        if isinstance(client, Connection):
            return await self._call(client)
        try:
            async with (client or configured()).connect() as line:
                return await self._call(line)
        except CallFailed as failure:
            return Result(error=failure.error)

    def check(self) -> ErrorCode | None:
        """Return what is wrong with the parameters, in the management node's words, or None; nothing is sent."""
        try:
            encode(self.api, self._parameters())
        except ApiError as error:
            return error.shown()
        return None

    async def _call(self, line: Connection) -> Result[R]:
        try:
            parameters = self._parameters()
            answer = await perform(line, self.api, parameters, self.sessionId)
            return Result(value=cast("R", parse_reply(self.api, parameters, answer)), answer=answer)
        except CallFailed as failure:
            return Result(error=failure.error)
        except ApiError as error:
            return Result(error=error.shown())
        except ValidationError as error:
            return Result(error=bad_answer("the answer does not have the form of the API", explain(error)).error)

    def _parameters(self) -> Parameters:
        """Check the parameters as the management node does.

        Raises:
            InvalidArgument: one of them is missing or has a value that is not allowed.
        """
        values = {name: value for name, value in vars(self).items() if name != "sessionId"}
        for name in self.hashed & values.keys():
            values[name] = hash_password(str(values[name]))
        try:
            return self.api.parameters.model_validate(values)
        except ValidationError as error:
            raise InvalidArgument(explain(error)) from None


class QueryAction(Action[Q]):
    """A query: conditions such as `status=Connected`, all of which hold, then sorting, then paging."""

    conditions: list[str]
    limit: int | None
    start: int | None
    count: bool | None
    replyWithCount: bool | None
    sortBy: str | None
    sortDirection: Literal["asc", "desc"] | None
    fields: list[str] | None
    groupBy: str | None
    filterName: str | None


def hash_password(password: str) -> str:
    """Return what the API wants for a password: its SHA-512; one that is a hash already stays as it is."""
    if re.fullmatch(r"[0-9a-f]{128}", password):
        return password
    return hashlib.sha512(password.encode()).hexdigest()


_default: list[Client] = [Client()]


def configure(hostname: str = "127.0.0.1", port: int = 8080, *, https: bool = False, **settings: Any) -> Client:
    """Say which management node calls go to that name no client; `settings` are those of `Client`."""
    host = f"[{hostname}]" if ":" in hostname else hostname
    _default[0] = Client(url=f"{'https' if https else 'http'}://{host}:{port}", **settings)
    return _default[0]


def configured() -> Client:
    """Return the client of calls that name none."""
    return _default[0]


def _describe(api: Api, name: str) -> str:
    declared = api.parameters.model_fields[name]
    needed = " (needed)" if declared.is_required() else ""
    return f"{declared.description or ''}{needed}".strip()
