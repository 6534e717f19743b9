"""One call from the request to the end of its job: session, job uuid, polling, and what the answer says."""

import asyncio
import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from bs_agent.client.wire.encoding import Answer, Request, encode
from bs_agent.client.wire.failures import CallFailed, bad_answer, polling_timeout
from bs_agent.client.wire.signing import by_key, by_session
from bs_agent.client.wire.transport import Client, Connection, Progress, pauses
from bs_agent.contract.declaration import PREFIX, Api, Parameters
from bs_agent.contract.errors import ErrorCode

JOB_PATIENCE = 120.0
"""How long a job is still asked for while the management node does not answer: it may be restarting. Seconds."""

_ANOTHER = "Another server than the management node answers: check host and port."
_LOCATION = re.compile(r"/api-jobs/([0-9a-f]{32})/?$")


async def perform(line: Connection, api: Api, parameters: Parameters, session: str = "") -> dict[str, Any]:
    """Make the call and return the JSON object that answers it, that of the job if there is one.

    Without a session the client's access key signs it, or else the client's session is used.

    A long API carries a job uuid that makes it safe to send again: the second one is refused, and the first followed.

    Raises:
        InvalidArgument: a parameter of the path would name another path.
        CallFailed: the API or the way to it failed.
    """
    request = encode(api, parameters)
    headers = _authorization(line.client, session, request) if api.needs_session else {}
    job = uuid.uuid4().hex if api.long else ""
    if job:
        headers["X-Job-UUID"] = job
    answer = await line.send(request, headers, repeatable=api.long or api.method != "POST")
    if answer.status == 202:
        # The host of the location is the management node's idea of itself; ours is the one that is known to answer.
        found = _LOCATION.search(str(_object(answer).get("location", "")))
        job = found[1] if found else job
        if not job:
            raise bad_answer("the answer is of a job, but does not say of which", answer.text)
        return await _follow(line, job, session)
    if answer.status == 400 and job and f"Duplicate job uuid[{job}]" in answer.text:
        return await _follow(line, job, session)
    return _outcome(answer)


async def _follow(line: Connection, job: str, session: str) -> dict[str, Any]:
    client = line.client
    loop = asyncio.get_running_loop()
    begin = loop.time()
    request = Request("GET", f"{PREFIX}/api-jobs/{job}")
    for pause in pauses(client.polling_interval):
        patience = min(JOB_PATIENCE, client.polling_timeout)
        headers = _authorization(client, session, request)
        answer = await line.send(request, headers, repeatable=True, patience=patience)
        if answer.status != 202:
            return _outcome(answer)
        waited = loop.time() - begin
        if client.on_progress:
            client.on_progress(Progress(job, waited))
        if waited + pause > client.polling_timeout:
            raise polling_timeout(job, client.polling_timeout)
        await asyncio.sleep(pause)
    raise AssertionError("the pauses do not end")


def _authorization(client: Client, session: str, request: Request) -> dict[str, str]:
    """Say who calls: a session that the action names goes first, then the client's access key, then its session."""
    if client.access_key and not session:
        return by_key(client.access_key, request, datetime.now(UTC))
    return by_session(session or client.session_id)


def _outcome(answer: Answer) -> dict[str, Any]:
    """Return what a final answer holds.

    Raises:
        CallFailed: it tells of a failure, or is none of the API's.
    """
    if answer.status == 200:
        found = _object(answer)
        if isinstance(found.get("error"), dict):
            raise CallFailed(_error(answer, found["error"]))
        return found
    try:
        error = _object(answer).get("error")
    except CallFailed:
        error = None
    if isinstance(error, dict):
        raise CallFailed(_error(answer, error))
    description = f"the http status code[{answer.status}] indicates a failure happened"
    raise bad_answer(description, answer.text, _cure_of_status(answer.status))


def _cure_of_status(status: int) -> str:
    """Say what to do about an answer that is none of the API's: who gives it is not the management node."""
    if 300 <= status < 400:
        return "Give the URL that this one leads to: a call follows no other, lest a session goes to it."
    if status in {407, 502, 504}:
        return "A proxy or load balancer answers: see that a management node runs behind it, and that it lets calls in."
    return _ANOTHER if 400 <= status < 500 else "Look at the log of the management node, and of what stands before it."


def _object(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body) if answer.body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise bad_answer("the answer is not JSON", f"{error}: {answer.text[:200]}", _ANOTHER) from error
    if not isinstance(found, dict):
        raise bad_answer("the answer is not a JSON object", answer.text[:200], _ANOTHER)
    return found


def _error(answer: Answer, error: dict[str, Any]) -> ErrorCode:
    try:
        return ErrorCode.model_validate(error)
    except ValidationError:
        raise bad_answer(f"the http status code[{answer.status}] came with an unknown error", answer.text) from None
