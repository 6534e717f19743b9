"""What fails on the client's side, in the error structure of the API; the codes are those that existing clients use.

sdk.1000  the management node answered with something that is not an answer of the API
sdk.1001  a job did not end before the polling time was over
sdk.1002  the management node cannot be reached, or did not answer before the deadline
"""

from bs_agent.contract.declaration import PREFIX
from bs_agent.contract.errors import ErrorCode

BAD_ANSWER, POLLING_TIMEOUT, UNREACHABLE = "sdk.1000", "sdk.1001", "sdk.1002"
MAX_TEXT = 2000


class CallFailed(Exception):
    """A call failed; `error` is what the API, or this client, says of it."""

    def __init__(self, error: ErrorCode) -> None:
        super().__init__(f"{error.code}: {error.description}" + (f": {error.details}" if error.details else ""))
        self.error = error


class NoAnswer(Exception):  # noqa: N818 RUF100  as CallFailed
    """No answer came to a request; `failure` says why, `arrived` whether the request may have been carried out."""

    def __init__(self, failure: CallFailed, *, arrived: bool) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.arrived = arrived


def bad_answer(description: str, details: str = "", cure: str = "") -> CallFailed:
    """Build the error of an answer that the client cannot use; the cure is its elaboration."""
    return _failed(BAD_ANSWER, description, details, cure)


def unreachable(url: str, details: str, cure: str) -> CallFailed:
    """Build the error of a management node that does not answer."""
    return _failed(UNREACHABLE, f"the management node at {url} cannot be reached", details, cure)


def polling_timeout(job: str, seconds: float) -> CallFailed:
    """Build the error of a job that runs on although the client waits no longer."""
    description = "the time to wait for the job is over"
    details = f"job[{job}] still ran after {seconds:g} s; it goes on without this client"
    cure = f"Ask for it: GET {PREFIX}/api-jobs/{job}; a longer `--timeout` (polling_timeout) waits longer."
    return _failed(POLLING_TIMEOUT, description, details, cure)


def _failed(code: str, description: str, details: str, cure: str) -> CallFailed:
    shown = ErrorCode(code=code, description=description, details=details[:MAX_TEXT] or None, elaboration=cure or None)
    return CallFailed(shown)
