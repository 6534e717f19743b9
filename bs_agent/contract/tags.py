"""The system tags that mean something here, and what a tag may be: checked before a call does anything.

agentEnrollment::<code>  or  agentEnrollment::<hostname>::<code>      from `bs-agent enroll`, holds a secret
sshHostKey::<fingerprint>  or  sshHostKey::<hostname>::<fingerprint>  the host key that SSH must meet
removePool::<poolName>                                                let a delete remove the pool that an add made
writeProbe::true                                                      let the agents probe a pool by writing to it

A user tag means nothing here, whatever it looks like; a secret is neither.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from bs_agent.contract.enrollment import decode, holds_code
from bs_agent.contract.errors import InvalidArgument

ENROLLMENT = "agentEnrollment::"
HOST_KEY = "sshHostKey::"
REMOVE_POOL = "removePool::"
WRITE_PROBE = "writeProbe::"
MAX_TAG = 2048

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def refuse_secret(text: str) -> str:
    """Return the text, unless it holds an enrolment code: what it is given for would be stored and shown.

    Raises:
        ValueError: it holds one; the message does not repeat it.
    """
    if holds_code(text):
        raise ValueError(
            f"holds an enrolment code, which is a secret and is not stored here: give it as the system tag "
            f"{ENROLLMENT}<code> of the call that adds or reconnects the storage"
        )
    return text


def check_system_tag(tag: str) -> str:
    """Return the tag, unless it is one of those above and malformed, or holds a secret that it should not.

    Raises:
        ValueError: it is; the message does not repeat it.
    """
    # From the right: an IPv6 address has `::` of its own, codes and fingerprints have none.
    before, _, value = tag.rpartition("::")
    if tag.startswith(ENROLLMENT):
        try:
            decode(value)
        except InvalidArgument as error:
            raise ValueError(f"{ENROLLMENT} must be followed by an enrolment code: {error.details}") from None
        refuse_secret(before)
        return tag
    if tag.startswith(HOST_KEY) and not _FINGERPRINT.fullmatch(value):
        raise ValueError(f"{HOST_KEY} must be followed by a fingerprint such as `ssh-keygen -l` prints it")
    if tag.startswith(WRITE_PROBE) and tag.removeprefix(WRITE_PROBE) not in {"true", "false"}:
        raise ValueError(f"{WRITE_PROBE} must be followed by true or false")
    if tag == REMOVE_POOL:
        raise ValueError(f"{REMOVE_POOL} must be followed by the name of the pool")
    return refuse_secret(tag)


def check_kept_tag(tag: str) -> str:
    """Return a system tag that is to be kept: not one that speaks of a single call.

    Raises:
        ValueError: it does.
    """
    if tag.startswith((ENROLLMENT, HOST_KEY)):
        raise ValueError(f"{ENROLLMENT}... and {HOST_KEY}... are for the call that adds or reconnects a storage")
    return tag


def check_user_tag(tag: str) -> str:
    """Return the tag, unless it is meant for the system or holds a secret: a user tag is shown to everybody.

    Raises:
        ValueError: it is; the message does not repeat it.
    """
    if tag.strip().lower().startswith(ENROLLMENT.lower()):
        raise ValueError(f"{ENROLLMENT}... is a system tag, for the call that adds or reconnects a storage")
    return refuse_secret(tag)


_Tag = Annotated[str, Field(min_length=1, max_length=MAX_TAG)]
SystemTag = Annotated[_Tag, AfterValidator(check_system_tag)]
KeptTag = Annotated[SystemTag, AfterValidator(check_kept_tag)]
UserTag = Annotated[_Tag, AfterValidator(check_user_tag)]
