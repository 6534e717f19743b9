"""A form that adds a storage: an ImageStore or a Ceph pool, by a code of its agent or by a log-in over SSH."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from bs_agent.contract.errors import ApiError, InvalidArgument, RequestError
from bs_agent.management.console.visit import Visit, enrolment

_FAULT = re.compile(r"field\[(\w+)[^\]]*\]: (.*?)(?=; field\[|$)", re.DOTALL)
_KEPT = ("name", "description", "hostname", "url", "servicePort", "hosts", "poolName", "by", "username", "sshPort")
"""What a form that has failed is filled with again: no secrets."""


@dataclass(frozen=True)
class _Kind:
    api: str
    fields: tuple[str, ...]
    """The fields of the form that are parameters as they are."""


KINDS = {
    "imagestore": _Kind("AddImageStoreBackupStorage", ("name", "description", "hostname", "url", "servicePort")),
    "ceph": _Kind("AddCephBackupStorage", ("name", "description", "poolName")),
}
_SHOWN_AT = {"monUrls": "hosts", "systemTags": "code"}


async def show(visit: Visit) -> web.StreamResponse:
    """Show the form, filled with what the URL says."""
    return _form(visit, {name: visit.asked(name) for name in _KEPT}, {}, "")


async def check(visit: Visit) -> web.StreamResponse:
    """Say what is wrong with what was filled in so far, and change nothing."""
    wrong, other = await _faults(visit)
    filled = {name: text for name, text in wrong.items() if visit.sent(name)}
    missing = [name for name in wrong if not visit.sent(name)]
    return visit.show("_checks.html", wrong=filled, missing=missing, other=other)


async def add(visit: Visit) -> web.StreamResponse:
    """Add the storage, unless something is wrong; its progress is shown at the job."""
    wrong, other = await _faults(visit)
    kept = {name: visit.sent(name) for name in _KEPT} | {"hosts": _without_secrets(visit.form.get("hosts", ""))}
    if wrong or other:
        return _form(visit, kept, wrong, other)
    kind = _kind(visit)
    job = await visit.start(KINDS[kind].api, **_parameters(visit, kind))
    again = urlencode({"kind": kind} | {name: text for name, text in kept.items() if text})
    return visit.go(f"/jobs/{job}?{urlencode({'again': f'/add?{again}'})}")


def _form(visit: Visit, values: dict[str, str], wrong: dict[str, str], other: str) -> web.Response:
    kind = _kind(visit)
    values = {"sshPort": "22", "by": "code"} | {name: text for name, text in values.items() if text}
    filled = {name: values.get(name, "") for name in _KEPT}
    status = 400 if wrong or other else 200
    return visit.show("add.html", status, kind=kind, values=filled, wrong=wrong, other=other)


def _kind(visit: Visit) -> str:
    kind = visit.sent("kind") or visit.asked("kind")
    return kind if kind in KINDS else "imagestore"


async def _faults(visit: Visit) -> tuple[dict[str, str], str]:
    """Return what is wrong by the form's fields, and what else."""
    kind = _kind(visit)
    wrong: dict[str, str] = {}
    if visit.sent("by") == "code" and kind == "imagestore" and not visit.sent("code"):
        wrong["code"] = "the code that the command has printed on the host"
    if visit.sent("by") == "ssh" and not visit.sent("username"):
        wrong["username"] = "who logs in on the host"
    try:
        await visit.services.calls.check(KINDS[kind].api, _parameters(visit, kind))
    except (InvalidArgument, RequestError) as error:
        found = {_SHOWN_AT.get(name, name): text for name, text in _FAULT.findall(error.details)}
        return found | wrong, "" if found else error.details
    except ApiError as error:
        return wrong, error.details
    return wrong, ""


def _parameters(visit: Visit, kind: str) -> dict[str, Any]:
    """Return the parameters of the call; what is left empty is left out."""
    given: dict[str, Any] = {name: visit.sent(name) for name in KINDS[kind].fields if visit.sent(name)}
    by_code = visit.sent("by") != "ssh"
    if kind == "ceph":
        return given | _mons(visit, by_code=by_code)
    if by_code:
        return given | {"systemTags": enrolment(visit.sent("code"))}
    log_in = {"username": visit.sent("username"), "password": visit.form.get("password", "")}
    return given | log_in | ({"sshPort": visit.sent("sshPort")} if visit.sent("sshPort") else {})


def _without_secrets(lines: str) -> str:
    """Return the hosts alone: no codes behind them, no passwords before them."""
    words = (line.split() for line in lines.splitlines())
    return "\n".join(found[0].rpartition("@")[2] for found in words if found)


def _mons(visit: Visit, *, by_code: bool) -> dict[str, Any]:
    """Read the lines of hosts: each a host, and behind it the code of its agent where that is the way."""
    urls, tags = [], []
    for line in visit.form.get("hosts", "").splitlines():
        host, _, code = line.strip().partition(" ")
        if not host:
            continue
        if by_code:
            urls.append(host)
            name = host.partition("/")[0]
            name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
            tags += enrolment(code, name)
        else:
            user, password, port = visit.sent("username"), visit.form.get("password", ""), visit.sent("sshPort")
            place, _, rest = host.partition("/")
            has_port = re.search(r"\]:\d+$|^[^\[\]:]+:\d+$", place)
            place = place if has_port or not port else f"{place}:{port}"
            urls.append(f"{user}:{password}@{place}" + (f"/{rest}" if rest else ""))
    return {"monUrls": urls, "systemTags": tags}
