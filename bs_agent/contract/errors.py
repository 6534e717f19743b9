"""The error tree of the public API: code, HTTP status, safe details, cause. One middleware renders it.

    ApiError
    |- InternalError          SYS.1000  503   a fault of ours; the log has the rest
    |- OperationTimeout       SYS.1001  503
    |- ResourceNotFound       SYS.1003  503
    |- CannotDelete           SYS.1004  503   its cause says why
    |- CannotChangeState      SYS.1005  503
    |- OperationFailed        SYS.1006  503
    |- InvalidArgument        SYS.1007  503   a parameter's value
    |- AuthenticationFailed   ID.1000   503
    |- InvalidSession         ID.1001   503
    |- TooManySessions        ID.1006   503
    |- RequestError           SYS.1007  400   the request as such; no API was reached
    |  |- Unauthorized                  401
    |  |- TimeTooSkewed                 403
    |  |- NoSuchPath                    404
    |  |- MethodNotAllowed              405
    |  |- RequestTimeout                408
    |  |- BodyTooLarge                  413
    |  |- UnsupportedEncoding           415
    |  |- TooManyRequests               429
    |  `- Overloaded                    503
    `- StorageProblem         BS.<reason> 503 a host or a storage is not well: see `reasons.py`
       |- AgentUnauthorized            401   these four only between management node and agent
       |- StorageUnknown               404
       |- CommandConflict              409
       `- CommandOutdated              409

The HTTP statuses are those that existing clients of the API expect: 503 for every failure after dispatch.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from bs_agent.contract.reasons import REASONS, Reason, ReasonCode


class ErrorCode(BaseModel):
    """An error as it is shown: the `error` object of an answer."""

    model_config = ConfigDict(frozen=True)

    code: str
    description: str
    details: str | None = None
    elaboration: str | None = None
    opaque: dict[str, Any] | None = None
    cause: "ErrorCode | None" = None


class ApiError(Exception):
    """The root of the tree; `details` and `cause` are shown to the caller, so they hold no secret."""

    code: ClassVar[str]
    description: ClassVar[str]
    http_status: ClassVar[int] = 503
    cure: ClassVar[str] = ""
    """What to do about it, where the details do not say that by themselves."""
    retry_after: int = 0
    """Seconds after which the same would be taken; 0 when nothing is known of that. Travels as a header."""

    def __init__(self, details: str, *, cause: "ApiError | None" = None) -> None:
        super().__init__(details)
        self.details = details
        self.cause = cause

    def shown(self) -> ErrorCode:
        """Return the error as an answer shows it."""
        cause = self.cause.shown() if self.cause else None
        return ErrorCode(code=self.code, description=self.description, details=self.details, cause=cause)


class InternalError(ApiError):
    """A fault of ours."""

    code = "SYS.1000"
    description = "An internal error happened in system"
    cure = "Read the log of the management node (`journalctl -u bs-management`): it has the rest."


class OperationTimeout(ApiError):
    """An operation did not end before its deadline."""

    code = "SYS.1001"
    description = "A message or a operation timeout"
    cure = "Look whether it was done all the same, then try again; a host or a cluster may be slow."


class ResourceNotFound(ApiError):
    """A uuid names nothing."""

    code = "SYS.1003"
    description = "Unable to find the requested resource"
    cure = "Query what there is. The API takes uuids, of 32 hexadecimal digits; bs-cli takes names too."


class CannotDelete(ApiError):
    """A delete was refused; the record is unchanged."""

    code = "SYS.1004"
    description = "Unable to delete the resource"
    cure = (
        "See to the cause and delete again; `deleteMode=Enforcing` removes the record at once and cleans the "
        "hosts when they are back."
    )


class CannotChangeState(ApiError):
    """A change of state was refused."""

    code = "SYS.1005"
    description = "Unable to change the state of the resource"


class OperationFailed(ApiError):
    """An operation was tried and failed."""

    code = "SYS.1006"
    description = "The operation failed"


class InvalidArgument(ApiError):
    """A parameter has a value that is not allowed."""

    code = "SYS.1007"
    description = "One or more arguments of the call are invalid"


class AuthenticationFailed(ApiError):
    """Account name or password are wrong."""

    code = "ID.1000"
    description = "Unable to authenticate a user"
    cure = (
        "Give the right name and password (the API takes the SHA-512 of the password, bs-cli and the SDK make "
        "it); `bs-management set-password admin` sets a new one."
    )


class InvalidSession(ApiError):
    """The session is unknown or has expired."""

    code = "ID.1001"
    description = "The session is invalid, either wrong session id or the session has been expired"
    cure = "Log in again: `bs-cli LogInByAccount accountName=admin`."


class TooManySessions(ApiError):
    """The account has as many sessions as it may have."""

    code = "ID.1006"
    description = "The account has too many sessions"
    cure = "End sessions that nobody uses (QuerySession, RevokeSession), or wait until they expire."


class RequestError(ApiError):
    """The request as such is wrong: no API was reached."""

    code = "SYS.1007"
    description = "The request is invalid"
    http_status = 400


class Unauthorized(RequestError):
    """What is asked for wants a token or a session."""

    description = "The request shows neither a token nor a session"
    http_status = 401
    cure = "Send `Authorization: OAuth <session>`, a signature or the token that is made for this."


class TimeTooSkewed(RequestError):
    """The date of a signed request is too far from now."""

    description = "The clocks of client and server are too far apart"
    http_status = 403
    cure = "Let chrony, ntpd or systemd-timesyncd set the clocks of this host and of the management node."


class NoSuchPath(RequestError):
    """No API has this path."""

    description = "There is no such path"
    http_status = 404
    cure = (
        "Compare the path with docs/api.md, and see that this is the management node's port; a job that has ended is "
        "kept for a while only."
    )


class MethodNotAllowed(RequestError):
    """The path has no API with this method."""

    description = "The method is not allowed for this path"
    http_status = 405
    cure = "Compare method and path with docs/api.md."


class RequestTimeout(RequestError):
    """The body did not arrive before the deadline."""

    description = "The request did not arrive in time"
    http_status = 408
    cure = "Send the whole body at once; look at the network in between."


class BodyTooLarge(RequestError):
    """The body is larger than allowed."""

    description = "The request body is too large"
    http_status = 413
    cure = "Send less in one request."


class UnsupportedEncoding(RequestError):
    """The body is compressed."""

    description = "The request's Content-Encoding is not supported"
    http_status = 415
    cure = "Send the body as it is, without compression."


class TooManyRequests(RequestError):
    """The caller is over its rate."""

    description = "Too many requests"
    http_status = 429
    cure = "Wait a while, or as long as `Retry-After` says, then try again; less may be asked for at once."


class Overloaded(RequestError):
    """There are as many requests or jobs under way as are allowed."""

    description = "The server has too much to do"
    http_status = 503
    cure = "Wait a while, or as long as `Retry-After` says, then try again; less may be asked for at once."


class StorageProblem(ApiError):
    """A host or a storage is not well; `reason` says how."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.details)
        self.reason = reason

    @classmethod
    def of(cls, code: ReasonCode, details: str) -> "StorageProblem":
        """Build the problem from its code and what was seen."""
        return cls(Reason(code=code, details=details))

    def shown(self) -> ErrorCode:
        """Return the error as an answer shows it; the code is `BS.` and the reason's name."""
        return ErrorCode(
            code=f"BS.{self.reason.code}", description=REASONS[self.reason.code].meaning, details=self.details
        )


def reason_of(error: ApiError) -> Reason:
    """Return why a host or a storage is not well, as an error of one says; any other is a fault of its agent."""
    if isinstance(error, StorageProblem):
        return error.reason
    return Reason(code=ReasonCode.AGENT_FAULT, details=error.details)


class AgentUnauthorized(StorageProblem):
    """The token is missing or belongs to no enrolment."""

    http_status = 401

    def __init__(self, details: str = "no token that this agent knows") -> None:
        super().__init__(Reason(code=ReasonCode.AGENT_UNAUTHORIZED, details=details))


class StorageUnknown(StorageProblem):
    """The agent serves no backup storage of this uuid for the caller."""

    http_status = 404

    def __init__(self, uuid: str) -> None:
        details = f"this agent does not serve backup storage {uuid} for you"
        super().__init__(Reason(code=ReasonCode.STORAGE_UNKNOWN, details=details))


class CommandConflict(StorageProblem):
    """The command's uuid was used before, for something else."""

    http_status = 409

    def __init__(self, uuid: str) -> None:
        details = f"command {uuid} was given before with another body"
        super().__init__(Reason(code=ReasonCode.COMMAND_CONFLICT, details=details))


class CommandOutdated(StorageProblem):
    """A newer operation on the storage is known to the agent: its number is greater, `seen`."""

    http_status = 409

    def __init__(self, uuid: str, number: int, seen: int) -> None:
        given = f"operation {number}" if number else "a command without a number"
        details = f"{given} comes too late: operation {seen} on backup storage {uuid} is newer"
        super().__init__(Reason(code=ReasonCode.COMMAND_OUTDATED, details=details))


def from_shown(shown: ErrorCode) -> ApiError:
    """Return the error that an answer, or a row, shows; it shows itself the same again, where this version knows it."""
    cause = from_shown(shown.cause) if shown.cause else None
    details = shown.details or shown.description
    if (reason := shown.code.removeprefix("BS.")) in set(ReasonCode):
        return StorageProblem.of(ReasonCode(reason), details)
    kinds = {kind.code: kind for kind in ApiError.__subclasses__() if kind not in {RequestError, StorageProblem}}
    return kinds.get(shown.code, InternalError)(details, cause=cause)


def cure_of(shown: ErrorCode) -> str:
    """Say what to do about an error as it is shown: what it says itself, or what is known of its code; or nothing."""
    if shown.elaboration:
        return shown.elaboration
    if (reason := shown.code.removeprefix("BS.")) in set(ReasonCode):
        return REASONS[ReasonCode(reason)].cure
    # Several kinds of requests that are wrong have one code: their descriptions tell them apart.
    known = (kind.cure for kind in _kinds(ApiError) if (kind.code, kind.description) == (shown.code, shown.description))
    return next(known, "")


def _kinds(root: type[ApiError]) -> Iterator[type[ApiError]]:
    for kind in root.__subclasses__():
        if kind is not StorageProblem:
            yield kind
            yield from _kinds(kind)


def explain(error: ValidationError) -> str:
    """Say in one line which fields are wrong, and what is allowed; values are not repeated, they may be secrets."""
    faults = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(str(part) for part in fault["loc"]) or "body"
        faults.append(f"field[{field}]: {fault['msg'].removeprefix('Value error, ')}")
    return "; ".join(faults)
