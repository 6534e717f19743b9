"""What is out of bounds spoils its own part alone: a section takes a reason in the place of its value, an entry in all.

Two validators to hang on a field of a report; what they put in the place of what was told is read like any other.
"""

import re

from pydantic import AfterValidator, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from bs_agent.contract.reasons import REASONS, Reason, ReasonCode

_UUID = re.compile(r"[0-9a-f]{32}")
_SECTIONS = ("usage", "cluster", "pools", "mons", "localMon")


def first_fault(error: ValidationError) -> str:
    """Say where a value is wrong for the first time, and what is allowed there; the value is not repeated."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"


def _read_section(told: object, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
    """Read a section, or put in its place why it cannot be read; what makes the storage unusable goes first."""
    try:
        return read(told)
    except ValidationError as error:
        reason = Reason(code=ReasonCode.REPORT_INVALID, details=f"{info.field_name}.{first_fault(error)}")
        return read({"stale": True, "reason": _blocking(told) or reason})


def _blocking(told: object) -> Reason | None:
    said = told.get("reason") if isinstance(told, dict) else getattr(told, "reason", None)
    try:
        reason = Reason.model_validate(said)
    except ValidationError:
        return None
    return reason if REASONS[reason.code].blocking else None


def _read_entry(told: object, read: ValidatorFunctionWrapHandler) -> object:
    """Read what is said of a storage, or put in its place why it cannot be read; None if it names no storage."""
    try:
        return read(told)
    except ValidationError as error:
        uuid = told.get("uuid") if isinstance(told, dict) else None
        if not isinstance(told, dict) or not isinstance(uuid, str) or not _UUID.fullmatch(uuid):
            return None
        details = f"its report of this backup storage is not of the protocol: {first_fault(error)}"
        why = {"stale": True, "reason": Reason(code=ReasonCode.AGENT_FAULT, details=details)}
        kind = "Ceph" if told.get("type") == "Ceph" else "ImageStoreBackupStorage"
        return read({"type": kind, "uuid": uuid, "url": "", "poolName": "", **dict.fromkeys(_SECTIONS, why)})


SECTION = WrapValidator(_read_section)
ENTRY = WrapValidator(_read_entry)
ONLY_NAMED = AfterValidator(lambda entries: [entry for entry in entries if entry])
