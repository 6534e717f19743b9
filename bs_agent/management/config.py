"""The management node's configuration: every key, its default and what it means."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator

from bs_agent.contract.push import URL_PATTERN, check_url, is_loopback
from bs_agent.daemon.configuration import Address, FilePath, ListenAddress, Settings
from bs_agent.daemon.logs import LogFormat, LogLevel

DEFAULT_PATH = Path("/etc/bs-agent/management.toml")
PREFIX = "BS_MANAGEMENT"


def _check_url(text: str) -> str:
    if not text.startswith(("sqlite:///", "postgresql://")):
        raise ValueError("must begin with sqlite:/// or postgresql://, for example sqlite:////var/lib/bs-agent/m.db")
    return text


class ServerSettings(Settings):
    """Where the public API is served."""

    listen: ListenAddress = Field(Address("127.0.0.1", 8080), description="Address and port of the public API.")
    tls_certificate: FilePath | None = Field(
        None, description="PEM file of the certificate; with it the API speaks HTTPS."
    )
    tls_key: FilePath | None = Field(None, description="PEM file of the certificate's key.")
    allow_plain_http: bool = Field(
        default=False, description="Speak plain HTTP on an address other than loopback: sessions are readable then."
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^/\s]+)?$",
        description="What clients put before `/zstack/v1`, and browsers before the pages of the console, when a proxy "
        "changes it; empty: what the request says.",
    )
    trusted_proxies: list[IPvAnyNetwork] = Field(
        default_factory=list,
        max_length=100,
        description="Proxies whose `X-Forwarded-For` says who calls, as addresses or networks; else all who come "
        "through a proxy share its limit of failed log-ins. A variable separates them by commas.",
    )
    advertise_url: str = Field(
        "",
        max_length=300,
        pattern=rf"^$|{URL_PATTERN}",
        description="Where agents push their reports when something changes between polls, for example "
        "`https://node:8080`; they pin `tls_certificate`. Empty: they are only polled.",
    )

    stop_notice: float = Field(
        0,
        ge=0,
        le=60,
        description="Seconds for which a node that is told to stop still takes calls, and says at `/readyz` that it is "
        "not ready: as long as a load balancer needs to notice.",
    )

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together")
        if not (self.tls_certificate or self.allow_plain_http or is_loopback(self.listen.host)):
            raise ValueError(
                f"{self.listen} is not a loopback address: give tls_certificate and tls_key, or set allow_plain_http"
            )
        if self.advertise_url:
            https = self.advertise_url.startswith("https://")
            check_url(self.advertise_url, pinned=https and self.tls_certificate is not None)
        return self


class DatabaseSettings(Settings):
    """Where the inventory is kept."""

    url: Annotated[str, AfterValidator(_check_url)] = Field(
        "sqlite:////var/lib/bs-agent/management.db",
        description="`sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST/NAME`, which several nodes share. Of "
        "servers that fail over all are named: `postgresql://USER@HOST1:PORT,HOST2:PORT/NAME?target_session_attrs=read-write`.",
    )
    lease: float = Field(
        15, ge=1, le=600, description="Seconds after which other nodes take over from a node that has fallen silent."
    )


class StateSettings(Settings):
    """What this node keeps beside the database."""

    directory: FilePath = Field(
        Path("/var/lib/bs-agent"), description="Holds the key file that encrypts secrets; back it up."
    )


class PollSettings(Settings):
    """How the agents are polled."""

    interval: float = Field(60, gt=0, le=86400, description="Seconds between two polls of an agent.")
    timeout: float = Field(10, gt=0, le=600, description="Seconds that an agent may take to answer a poll.")
    command_timeout: float = Field(
        60,
        gt=0,
        le=3600,
        description="Seconds that an agent may take when it asks the storage itself (connect, plan of a clean-up); "
        "at least four times the agents' `probe.deadline`.",
    )
    max_failures: int = Field(3, ge=1, le=1000, description="Missed polls in a row that make a host Disconnected.")

    @model_validator(mode="after")
    def _check_timeout(self) -> Self:
        if self.timeout > self.interval:
            raise ValueError(f"timeout ({self.timeout:g}) must not be longer than interval ({self.interval:g})")
        return self


class SessionSettings(Settings):
    """Sessions of the public API and of the console."""

    lifetime: int = Field(7200, ge=60, le=31_536_000, description="Seconds that a session lives after its last use.")
    per_account: int = Field(500, ge=1, le=100_000, description="Sessions that one account may have.")


class SshSettings(Settings):
    """How hosts are entered over SSH, when their agents do not answer."""

    connect_timeout: float = Field(10, gt=0, le=600, description="Seconds for connection and log-in.")
    command_timeout: float = Field(30, gt=0, le=600, description="Seconds for one command on the host.")
    restart_command: list[str] = Field(
        ["systemctl", "restart", "bs-agent"], min_length=1, description="What starts the agent, word by word."
    )
    enroll_command: list[str] = Field(
        ["bs-agent", "enroll"], min_length=1, description="What enrols with the agent; `--label` and `--json` follow."
    )
    start_timeout: float = Field(30, gt=0, le=600, description="Seconds until a restarted agent must answer.")


class JobSettings(Settings):
    """Calls that take long."""

    wait: float = Field(300, gt=0, le=86400, description="Seconds that a call without a job uuid waits for its result.")
    timeout: float = Field(1800, gt=0, le=86400, description="Seconds after which a job is given up.")
    keep: int = Field(
        10_800,
        ge=60,
        le=31_536_000,
        description="Seconds that the result of a job is kept; of each account, the 10,000 newest are.",
    )
    concurrent: int = Field(200, ge=1, le=100_000, description="Jobs that may run at once.")
    finish: float = Field(
        20, ge=0, le=600, description="Seconds that jobs and calls have left when the node is told to stop."
    )


class HookSettings(Settings):
    """Web hooks: addresses that are told how a job ended, as the caller wished in the header `X-Web-Hook`."""

    allow_local: bool = Field(
        default=False, description="Send web hooks to loopback and link-local addresses too: this host's own services."
    )
    tries: int = Field(15, ge=1, le=100, description="Tries until a web hook is given up.")
    timeout: float = Field(10, gt=0, le=600, description="Seconds that a receiver may take to answer.")
    pause: float = Field(
        2, gt=0, le=300, description="Seconds before the second try; each next pause is twice as long, at most 300."
    )
    pending: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Web hooks that may wait, a quarter of them for one receiver; one more is refused.",
    )
    concurrent: int = Field(
        16, ge=1, le=1000, description="Web hooks that are sent at once, a quarter of them to one receiver."
    )


class CleanupSettings(Settings):
    """What is owed to hosts that have, or may have, a storage that is not here any more or never was."""

    debt_days: float = Field(30, gt=0, le=3650, description="Days until a debt, such as a clean-up, is given up.")


class EventSettings(Settings):
    """What has happened: status changes, operations, log-ins."""

    days: float = Field(90, gt=0, le=3650, description="Days for which an event is kept.")
    rows: int = Field(
        200_000,
        ge=1000,
        le=100_000_000,
        description="The newest events that are kept, refused log-ins a quarter of them.",
    )


class LogSettings(Settings):
    """What is logged to standard error."""

    level: LogLevel = Field("info", description="debug, info, warning or error.")
    format: LogFormat = Field("text", description="text or json.")


class ManagementSettings(Settings):
    """management.toml as a whole."""

    server: ServerSettings = Field(ServerSettings(), description="Where the public API is served.")
    database: DatabaseSettings = Field(DatabaseSettings(), description="Where the inventory is kept.")
    state: StateSettings = Field(StateSettings(), description="What this node keeps beside the database.")
    poll: PollSettings = Field(PollSettings(), description="How the agents are polled.")
    session: SessionSettings = Field(SessionSettings(), description="Sessions of the public API.")
    ssh: SshSettings = Field(SshSettings(), description="How hosts are entered over SSH when their agents are silent.")
    jobs: JobSettings = Field(JobSettings(), description="Calls that take long.")
    hooks: HookSettings = Field(HookSettings(), description="Addresses that are told how a job ended.")
    cleanup: CleanupSettings = Field(
        CleanupSettings(), description="What is owed to hosts whose storage was deleted meanwhile, or never arrived."
    )
    events: EventSettings = Field(EventSettings(), description="What has happened, and is shown by QueryEvent.")
    log: LogSettings = Field(LogSettings(), description="What is logged to standard error.")
