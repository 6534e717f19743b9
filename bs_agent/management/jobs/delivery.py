"""The sending of one web hook: a POST with the end of a job. What the receiver says beside its status is not read."""

import logging

import aiohttp

from bs_agent.management.jobs.ended import ended_body
from bs_agent.management.store.hooks import DueHook
from bs_agent.management.store.jobs import DONE

log = logging.getLogger(__name__)


async def deliver(http: aiohttp.ClientSession, due: DueHook, seconds: float) -> str | None:
    """Send a web hook, and return what went wrong, if something did; the receiver has so many seconds."""
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "X-Job-UUID": due.job.uuid,
        "X-Job-Success": "true" if due.job.state == DONE else "false",
    }
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        body = ended_body(due.job, with_schema=due.with_schema)
        async with http.post(due.url, data=body, headers=headers, allow_redirects=False, timeout=timeout) as answer:
            return None if 200 <= answer.status < 300 else f"it answered {answer.status}"
    except TimeoutError:
        return f"it did not answer within {seconds:g} s"
    except aiohttp.ClientConnectorError as error:
        return str(error.os_error)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return str(error)
    except Exception:  # edge: one that cannot be sent must not be taken up at once again and again
        log.exception("the web hook of job %s cannot be sent", due.job.uuid)
        return "an unexpected fault"
