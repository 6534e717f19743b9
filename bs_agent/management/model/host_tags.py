"""The system tags that mean something here: trust for a host, given by hand, and what to do with a pool.

agentEnrollment::<code>  or  agentEnrollment::<hostname>::<code>      from `bs-agent enroll`, holds a secret
sshHostKey::<fingerprint>  or  sshHostKey::<hostname>::<fingerprint>  the host key that SSH must meet
removePool::<poolName>                                                let a delete remove the pool that an add made
writeProbe::true                                                      let the agents probe a pool by writing to it
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bs_agent.contract.enrollment import EnrollmentCode, decode
from bs_agent.contract.errors import InvalidArgument

ENROLLMENT = "agentEnrollment::"
HOST_KEY = "sshHostKey::"
REMOVE_POOL = "removePool::"
WRITE_PROBE = "writeProbe::"
MAX_TAG = 2048

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True)
class HostTags:
    """What the tags of one call say of its hosts, by host name; the empty name stands for the only host."""

    codes: dict[str, EnrollmentCode] = field(repr=False)
    fingerprints: dict[str, str]

    def code(self, hostname: str) -> EnrollmentCode | None:
        """Return the enrolment code for a host."""
        return self.codes.get(hostname) or self.codes.get("")

    def fingerprint(self, hostname: str) -> str:
        """Return the host key's fingerprint that was named for a host; empty: none was."""
        return self.fingerprints.get(hostname) or self.fingerprints.get("", "")


def parse_host_tags(tags: Iterable[str], hostnames: Sequence[str]) -> HostTags:
    """Read the tags of a call on these hosts.

    Raises:
        InvalidArgument: a tag of ours is malformed, or names a host that is not concerned.
    """
    codes: dict[str, EnrollmentCode] = {}
    fingerprints: dict[str, str] = {}
    for tag in tags:
        if tag.startswith(ENROLLMENT):
            hostname, value = _split(tag, ENROLLMENT, hostnames)
            codes[hostname] = decode(value)
        elif tag.startswith(HOST_KEY):
            hostname, value = _split(tag, HOST_KEY, hostnames)
            if not _FINGERPRINT.fullmatch(value):
                raise InvalidArgument(f"{HOST_KEY} must be followed by a fingerprint such as `ssh-keygen -l` prints it")
            fingerprints[hostname] = value
    return HostTags(codes, fingerprints)


def stored_tags(tags: Iterable[str]) -> list[str]:
    """Return the tags that may be kept: without those that hold a secret or speak of one call only.

    Raises:
        InvalidArgument: one is too long, or means something here and is malformed.
    """
    kept = list(dict.fromkeys(tag for tag in tags if not tag.startswith((ENROLLMENT, HOST_KEY))))
    if any(tag.startswith(WRITE_PROBE) and tag.removeprefix(WRITE_PROBE) not in {"true", "false"} for tag in kept):
        raise InvalidArgument(f"{WRITE_PROBE} must be followed by true or false")
    if any(len(tag) > MAX_TAG for tag in kept):
        raise InvalidArgument(f"a tag may have {MAX_TAG} characters at most")
    return kept


def asks_for_write_probe(tags: Iterable[str]) -> bool:
    """Tell whether the tags of a storage want the write probe."""
    return f"{WRITE_PROBE}true" in tags


def host_key_tag(fingerprint: str, hostname: str = "") -> str:
    """Return the tag that shows which host key was pinned."""
    return HOST_KEY + (f"{hostname}::" if hostname else "") + fingerprint


def _split(tag: str, prefix: str, hostnames: Sequence[str]) -> tuple[str, str]:
    # From the right: an IPv6 address has `::` of its own, codes and fingerprints have none.
    hostname, _, value = tag.removeprefix(prefix).rpartition("::")
    if hostname and hostname not in hostnames:
        raise InvalidArgument(f"{prefix}{hostname}::... names none of the hosts of this call: {', '.join(hostnames)}")
    if not hostname and len(hostnames) > 1:
        raise InvalidArgument(f"there are several hosts, so write {prefix}<hostname>::...")
    return hostname, value
