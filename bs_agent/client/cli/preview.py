"""What a delete would do, in lines for people: on which host what is removed, and what keeps it from that."""

from collections.abc import Iterator, Mapping
from typing import Any

_FATES = {
    "Cleaned": "is cleaned at once",
    "Refused": "cannot be cleaned now, so the delete would fail",
    "Owed": "is cleaned when it comes back",
}


def lines(preview: Mapping[str, Any], mode: str) -> Iterator[str]:
    """Yield the lines of a preview for one mode of delete, Permissive or Enforcing."""
    refused = mode == "Permissive" and preview.get("permissive") == "Refused"
    said = "would be refused: nothing would be deleted" if refused else "would delete the record; images are kept"
    yield f"{preview['name']} ({preview['uuid']}): a delete, {mode}, {said}"
    for host in preview.get("hosts", []):
        yield f"  {host['hostname']}: {_fate(host, mode)}"
        if reason := host.get("reason"):
            yield f"    {reason['code']}: {reason['details']}"
        if cure := host.get("cure"):
            yield f"    -> {cure}"
        for step in host.get("steps", []):
            error = step.get("error")
            why = f" (not now: {error['code']}: {error['details']})" if error else ""
            yield f"    {step['action']} {step['target']}{why}"
    if refused:
        yield "  -> Cure that first; or deleteMode=Enforcing deletes the record and cleans the hosts when they are back"


def _fate(host: Mapping[str, Any], mode: str) -> str:
    fate = str(host["permissive"] if mode == "Permissive" else host["enforcing"])
    return _FATES.get(fate, fate)
