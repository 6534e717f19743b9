"""How the public API names a mon host: `user:password@host:sshPort/?monPort=6789`; all but the host may be left out.

An IPv6 host stands in brackets.
"""

import re
from dataclasses import dataclass, field

DEFAULT_MON_PORT = 6789
DEFAULT_SSH_PORT = 22

_MAX_TEXT = 255

_PLACE = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?)\]|(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?))"
    r"(?::(?P<ssh>[0-9]{1,5}))?/?(?:\?monPort=(?P<mon>[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class MonUrl:
    """A mon host; `mon_port` is None when the text names none."""

    hostname: str
    username: str = ""
    password: str = field(default="", repr=False)
    ssh_port: int = DEFAULT_SSH_PORT
    mon_port: int | None = None


def parse_mon_url(text: str) -> MonUrl:
    """Parse a mon's URL; the password may hold any character, `@` and `/` too.

    Raises:
        ValueError: it has another form; the message does not repeat it.
    """
    log_in, _, place = text.strip().rpartition("@")
    username, _, password = log_in.partition(":")
    found = _PLACE.fullmatch(place)
    if not found or (place != text.strip() and not username):
        form = "user:password@host:sshPort/?monPort=6789, where all but the host may be left out"
        raise ValueError(f"must be {form}, and an IPv6 host stands in brackets")
    hostname = found["v6"] or found["name"]
    if max(len(hostname), len(username)) > _MAX_TEXT:
        raise ValueError(f"the host and the user may have {_MAX_TEXT} characters each")
    return MonUrl(
        hostname,
        username,
        password,
        _port(found["ssh"], "SSH port") or DEFAULT_SSH_PORT,
        _port(found["mon"], "monPort"),
    )


def _port(text: str | None, what: str) -> int | None:
    if text is None:
        return None
    if not 1 <= int(text) <= 65535:
        raise ValueError(f"the {what} must be within 1..65535")
    return int(text)
