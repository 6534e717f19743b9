"""What the system tags of a call say of its hosts. What each may hold was checked at the border: `contract/tags.py`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bs_agent.contract.enrollment import EnrollmentCode, decode
from bs_agent.contract.errors import InvalidArgument
from bs_agent.contract.tags import ENROLLMENT, HOST_KEY, WRITE_PROBE


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
        InvalidArgument: a tag names a host that is not concerned, or none where there are several.
    """
    codes: dict[str, EnrollmentCode] = {}
    fingerprints: dict[str, str] = {}
    for tag in tags:
        if tag.startswith(ENROLLMENT):
            hostname, value = _split(tag, ENROLLMENT, hostnames)
            codes[hostname] = decode(value)
        elif tag.startswith(HOST_KEY):
            hostname, value = _split(tag, HOST_KEY, hostnames)
            fingerprints[hostname] = value
    return HostTags(codes, fingerprints)


def stored_tags(tags: Iterable[str]) -> list[str]:
    """Return the tags that are kept: without those that hold a secret or speak of one call only."""
    return list(dict.fromkeys(tag for tag in tags if not tag.startswith((ENROLLMENT, HOST_KEY))))


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
