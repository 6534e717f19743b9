"""How a job has ended: what it answers, or the error with its reasons and their cures."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic_core import from_json

from bs_agent.contract.errors import ApiError, ErrorCode, cure_of, from_shown
from bs_agent.management.jobs.jobs import Payload
from bs_agent.management.store.jobs import DONE, StoredJob


@dataclass(frozen=True)
class Fault:
    """One error of a chain, from what was asked for down to its cause."""

    title: str
    details: str
    cure: str
    code: str


def payload_of(job: StoredJob) -> Payload:
    """Return what a job answers.

    Raises:
        ApiError: it has failed.
    """
    payload: Payload = from_json(job.result or "{}")
    if job.state != DONE:
        raise from_shown(ErrorCode.model_validate(payload["error"]))
    return payload


def faults(error: ApiError) -> list[Fault]:
    """Return what is to be shown of an error, the cause that cures it last."""
    return list(_faults(error.shown()))


def _faults(shown: ErrorCode | None) -> Iterator[Fault]:
    while shown is not None:
        yield Fault(shown.description, shown.details or "", cure_of(shown), shown.code)
        shown = shown.cause
