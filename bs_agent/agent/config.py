"""The keys of agent.toml: every one has a default, so an empty file is valid."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from bs_agent.contract.report import DEFAULT_PORT
from bs_agent.daemon.configuration import Address, FilePath, ListenAddress, Settings
from bs_agent.daemon.logs import LogFormat, LogLevel

DEFAULT_FILE = Path("/etc/bs-agent/agent.toml")
PREFIX = "BS_AGENT"


class Server(Settings):
    """The `[server]` section."""

    listen: ListenAddress = Field(
        Address("0.0.0.0", DEFAULT_PORT),  # noqa: S104  management nodes reach the agent over the network; the token guards it
        description="Address and port of the agent protocol; port 0 takes any free one.",
    )
    max_connections: int = Field(
        256,
        ge=1,
        le=10_000,
        description="Connections open at once, a quarter of them from one address; one more is closed unanswered.",
    )
    max_requests: int = Field(64, ge=1, le=10_000, description="Requests under way at once; one more is answered 503.")


class State(Settings):
    """The `[state]` section."""

    directory: FilePath = Field(
        Path("/var/lib/bs-agent"), description="Where journal, enrolments, key and certificate are kept (mode 0700)."
    )

    @field_validator("directory")
    @classmethod
    def _absolute(cls, directory: Path) -> Path:
        if not directory.is_absolute():
            raise ValueError("must be an absolute path")
        return directory


class ProbeSettings(Settings):
    """The `[probe]` section."""

    interval: float = Field(10, gt=0, le=3600, description="Seconds between two probes of the same thing.")
    deadline: float = Field(10, gt=0, le=3600, description="Seconds one probe may take; not longer than the interval.")
    python: FilePath = Field(
        Path("/usr/bin/python3"),
        description="The Python that runs the probe worker; for Ceph the one that has the rados module.",
    )
    boot_id: FilePath = Field(
        Path("/proc/sys/kernel/random/boot_id"),
        description="Where the kernel names this boot of the machine: a clone is told from its origin by it.",
    )

    @model_validator(mode="after")
    def _deadline_fits(self) -> Self:
        if self.deadline > self.interval:
            raise ValueError(f"deadline ({self.deadline:g}) must not be longer than interval ({self.interval:g})")
        return self


class CephSettings(Settings):
    """The `[ceph]` section."""

    conf: FilePath = Field(Path("/etc/ceph/ceph.conf"), description="The Ceph configuration file of this host.")
    client: str = Field("client.admin", pattern=r"^client\.[A-Za-z0-9_.-]+$", description="The Ceph client to be.")
    keyring: str = Field(
        "",
        pattern=r"^[^\x00]*$",
        description='The keyring of the client; "" takes what the Ceph configuration says.',
    )
    run_dir: FilePath = Field(Path("/var/run/ceph"), description="Where the mon of this host has its admin socket.")


class Log(Settings):
    """The `[log]` section."""

    level: LogLevel = Field("info", description="The least level that is logged: debug, info, warning or error.")
    format: LogFormat = Field("text", description="`text` for people, `json` for a log collector.")


class AgentSettings(Settings):
    """The whole of agent.toml."""

    server: Server = Field(default_factory=Server, description="The agent protocol's server.")
    state: State = Field(default_factory=State, description="What the agent keeps on disk.")
    probe: ProbeSettings = Field(
        default_factory=ProbeSettings, description="How often and how long storages are probed."
    )
    ceph: CephSettings = Field(default_factory=CephSettings, description="How this host reaches its Ceph cluster.")
    log: Log = Field(default_factory=Log, description="Logging, always on standard error.")
