"""What is known of a host's agent and how it may be entered: as stored, as its client wants it."""

from dataclasses import dataclass, field

from bs_agent.contract.enrollment import EnrollmentCode
from bs_agent.contract.errors import InternalError
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.hosts.agent_client import Target, target
from bs_agent.management.model.records import AgentRecord
from bs_agent.management.secrets import Keyring, SecretsError

SSH_HELPS = frozenset(
    {
        ReasonCode.AGENT_UNREACHABLE,
        ReasonCode.AGENT_TIMEOUT,
        ReasonCode.AGENT_FAULT,
        ReasonCode.AGENT_UNAUTHORIZED,
        ReasonCode.CERTIFICATE_CHANGED,
    }
)


@dataclass(frozen=True, slots=True)
class Access:
    """How a host may be entered: with a code that the operator brought, or with a log-in over SSH.

    `host_key` is the pinned one; `fingerprint` is what the operator says that it must be now.
    """

    hostname: str
    code: EnrollmentCode | None = field(default=None, repr=False)
    ssh_port: int = 22
    username: str = ""
    password: str = field(default="", repr=False)
    host_key: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Trust:
    """What was won: where the agent is, what to believe, what to say. `host_key` is empty when SSH was not used."""

    hostname: str
    port: int
    fingerprint: str
    token: str = field(repr=False)
    enrollment_id: str
    host_key: str = ""
    host_key_fingerprint: str = ""

    def target(self) -> Target:
        """Return the agent as its client wants it."""
        return target(self.hostname, self.port, self.fingerprint, self.token)


def to_record(trust: Trust, keyring: Keyring, uuid: str) -> AgentRecord:
    """Return what is stored of a trust that was won."""
    token = keyring.encrypt(trust.token)
    return AgentRecord(uuid, trust.hostname, trust.port, trust.fingerprint, trust.enrollment_id, token)


def target_of(agent: AgentRecord, keyring: Keyring, *, keep: bool = False) -> Target:
    """Return a stored agent as its client wants it."""
    token = reveal(keyring, agent.tokenSecret)
    return target(
        agent.hostname, agent.port, agent.fingerprint, token, keep=keep, next_fingerprint=agent.nextFingerprint
    )


def reveal(keyring: Keyring, secret: str | None) -> str:
    """Return a stored secret; empty when there is none.

    Raises:
        InternalError: the key file is not the one that it was encrypted with.
    """
    try:
        return keyring.decrypt(secret) if secret else ""
    except SecretsError as error:
        raise InternalError(str(error)) from error
