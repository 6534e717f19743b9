"""One call from the request to the end of its job: session, job uuid, polling, and what the answer says."""

import asyncio
import json
import re
import uuid
from typing import Any

from pydantic import ValidationError

from bs_agent.client.encoding import Request, encode
from bs_agent.client.failures import CallFailed, bad_answer, polling_timeout
from bs_agent.client.transport import Answer, Connection, Progress, pauses
from bs_agent.contract.api import PREFIX, Api, Parameters
from bs_agent.contract.errors import ErrorCode

JOB_PATIENCE = 120.0
"""How long a job is still asked for while the management node does not answer: it may be restarting. Seconds."""

_LOCATION = re.compile(r"/api-jobs/([0-9a-f]{32})/?$")


async def perform(line: Connection, api: Api, parameters: Parameters, session: str) -> dict[str, Any]:
    """Make the call and return the JSON object that answers it, that of the job if there is one.

    A long API carries a job uuid that makes it safe to send again: the second one is refused, and the first followed.

    Raises:
        InvalidArgument: a parameter of the path would name another path.
        CallFailed: the API or the way to it failed.
    """
    request = encode(api, parameters)
    headers = {"Authorization": f"OAuth {session}"} if api.needs_session else {}
    job = uuid.uuid4().hex
    if api.long:
        headers["X-Job-UUID"] = job
    answer = await line.send(request, headers, repeatable=api.long or api.method != "POST")
    if answer.status == 202:
        found = _LOCATION.search(str(_object(answer).get("location", "")))
        return await _follow(line, found[1] if found else job, headers)
    if answer.status == 400 and api.long and f"Duplicate job uuid[{job}]" in answer.text:
        return await _follow(line, job, headers)
    return _outcome(answer)


async def _follow(line: Connection, job: str, headers: dict[str, str]) -> dict[str, Any]:
    client = line.client
    loop = asyncio.get_running_loop()
    begin = loop.time()
    request = Request("GET", f"{PREFIX}/api-jobs/{job}")
    headers = {name: value for name, value in headers.items() if name == "Authorization"}
    for pause in pauses(client.polling_interval):
        patience = min(JOB_PATIENCE, client.polling_timeout)
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
    raise bad_answer(f"the http status code[{answer.status}] indicates a failure happened", answer.text)


def _object(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body) if answer.body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise bad_answer("the answer is not JSON", f"{error}: {answer.text[:200]}") from error
    if not isinstance(found, dict):
        raise bad_answer("the answer is not a JSON object", answer.text[:200])
    return found


def _error(answer: Answer, error: dict[str, Any]) -> ErrorCode:
    try:
        return ErrorCode.model_validate(error)
    except ValidationError:
        raise bad_answer(f"the http status code[{answer.status}] came with an unknown error", answer.text) from None
