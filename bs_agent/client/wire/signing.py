"""Who calls: the `Authorization` of a request, by a session or signed with an access key. Pure."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import urlsplit

from bs_agent.client.wire.encoding import Request


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key of `CreateAccessKeyAction`: it signs each request, so that no session is opened and nothing secret sent."""

    id: str
    secret: str = field(repr=False)


def by_session(session: str) -> dict[str, str]:
    """Return the header that carries a session."""
    return {"Authorization": f"OAuth {session}"}


def by_key(key: AccessKey, request: Request, now: datetime) -> dict[str, str]:
    """Return the headers that sign a request; the management node takes them for 15 minutes around `now`.

    Signed are method, date and path, the path without the context path `/zstack` and without the query.
    """
    date = format_datetime(now.astimezone(UTC), usegmt=True).removesuffix("GMT") + "Etc/UTC"
    path = urlsplit(request.target).path.removeprefix("/zstack")
    text = f"{request.method}\n{date}\n{path}"
    digest = hmac.new(key.secret.encode(), text.encode(), hashlib.sha1).digest()
    return {"Date": date, "Authorization": f"ZStack {key.id}:{base64.b64encode(digest).decode()}"}
