"""When each alert fires, and what it says then; and what is near enough to it, and fires nothing.

Every series comes from two management nodes of one database, so nothing may be told twice.
"""

from dataclasses import dataclass

from bs_agent.contract.reasons import REASONS, ReasonCode

Series = dict[str, str]

LONG = "x300"


@dataclass(frozen=True)
class Case:
    """An alert: the series by which it fires at a time, with which labels and words; and series that are well."""

    alert: str
    series: Series
    at: str
    labels: dict[str, str]
    summary: str
    description: str
    well: tuple[Series, ...]
    severity: str = "warning"
    early: str = "0m"
    """A time at which it does not fire yet."""
    alone: bool = False
    """Whether the series are of one node alone."""
    pace: str = "1m"
    """How far apart samples are, and the moments at which the rule is judged."""


def words(code: ReasonCode) -> str:
    """Return the words of a reason as an alert has them."""
    return f"{REASONS[code].meaning} {REASONS[code].cure}"


def info(kind: str = "ImageStoreBackupStorage", state: str = "Enabled") -> Series:
    """Return what a storage is."""
    return {
        f'bs_management_storage_info{{storage="s",name="images",type="{kind}",zone="east",state="{state}"}}': f"1{LONG}"
    }


def of(name: str, values: str, **labels: str) -> Series:
    """Return a series of the storage."""
    more = "".join(f',{label}="{value}"' for label, value in labels.items())
    return {f'bs_management_storage_{name}{{storage="s"{more}}}': values}


def agent(name: str, values: str, **labels: str) -> Series:
    """Return a series of the agent, and what it is."""
    more = "".join(f',{label}="{value}"' for label, value in labels.items())
    return {
        f'bs_management_agent_{name}{{agent="a"{more}}}': values,
        'bs_management_agent_info{agent="a",address="host:7765",version="1"}': f"1{LONG}",
    }


DISCONNECTED, CONNECTING, CONNECTED = (
    of("status", f"1{LONG}", status=status) for status in ("Disconnected", "Connecting", "Connected")
)
NO_QUORUM = of("reason", f"1{LONG}", reason="NoQuorum")
MGR_DOWN = of("reason", f"1{LONG}", reason="MgrDown")

STORAGE = {"storage": "s", "name": "images", "type": "ImageStoreBackupStorage", "zone": "east"}
POOL = STORAGE | {"type": "Ceph"}
AGENT = {"agent": "a", "address": "host:7765"}
NODE = {"instance": "n1"}
_IS = "Backup storage images (ImageStoreBackupStorage, s)"
_IS_POOL = "Backup storage images (Ceph, s)"
_GROW = REASONS[ReasonCode.DIRECTORY_FULL].cure
_GROW_POOL = REASONS[ReasonCode.POOL_FULL].cure


def _falling(total: int, at: int, step: float) -> Series:
    """Return an ImageStore whose room falls, by so much from sample to sample."""
    return of("total_bytes", f"{total}{LONG}") | of("available_bytes", f"{at}-{step}{LONG}")


def _lateness(late: int) -> Series:
    """Return the polls of a node, one a second, so many of a hundred of them late by half a minute to a whole one."""
    bucket = "bs_management_poll_lateness_seconds_bucket"
    return {
        f'{bucket}{{instance="n1",le="30"}}': f"0+{(100 - late) * 0.6}{LONG}",
        f'{bucket}{{instance="n1",le="60"}}': f"0+60{LONG}",
        f'{bucket}{{instance="n1",le="+Inf"}}': f"0+60{LONG}",
        'bs_management_poll_interval_seconds{instance="n1"}': f"60{LONG}",
    }


STORAGES = (
    Case(
        "BackupStorageDisconnected", info() | DISCONNECTED | of("reason", f"1{LONG}", reason="NoRoute"), "3m", STORAGE,
        "images is Disconnected", f"{_IS} cannot be used. NoRoute: {words(ReasonCode.NO_ROUTE)}",
        (info() | CONNECTED | MGR_DOWN, info(state="Disabled") | DISCONNECTED, info() | CONNECTING),
        severity="critical", early="1m",
    ),
    Case(
        "BackupStorageUnobserved", info() | CONNECTING | of("reason", f"1{LONG}", reason="Unobserved"), "20m", STORAGE,
        "images is not seen",
        f"{_IS} has been Connecting for a quarter of an hour. Unobserved: {words(ReasonCode.UNOBSERVED)}",
        (info() | CONNECTED, info() | DISCONNECTED, info(state="Disabled") | CONNECTING), early="10m",
    ),
    Case(
        "BackupStorageNotWell", info() | CONNECTED | MGR_DOWN, "20m", STORAGE,
        "images is not well", f"{_IS} is Connected, but: MgrDown: {words(ReasonCode.MGR_DOWN)}",
        (info() | CONNECTED, info() | DISCONNECTED | MGR_DOWN, info(state="Disabled") | CONNECTED | MGR_DOWN),
        early="10m",
    ),
    Case(
        "CephQuorumLost", info("Ceph") | DISCONNECTED | NO_QUORUM, "2m", POOL,
        "The cluster of images has no quorum", f"{_IS_POOL}: {words(ReasonCode.NO_QUORUM)}",
        (info("Ceph") | CONNECTED | of("reason", f"1{LONG}", reason="MonOutOfQuorum"),), severity="critical",
    ),
    Case(
        "CephMonDown", info("Ceph") | of("mons", f"5{LONG}") | of("mons_in_quorum", f"3{LONG}"), "15m", POOL,
        "2 mons of images are out of the quorum",
        f"{_IS_POOL} has 2 mons that are not in the quorum. {REASONS[ReasonCode.MON_OUT_OF_QUORUM].cure}",
        (info("Ceph") | of("mons", f"5{LONG}") | of("mons_in_quorum", f"5{LONG}"),), early="5m",
    ),
    Case(
        "BackupStorageFillingUp", info() | _falling(100_000, 40_000, 50), "12h", STORAGE,
        "images is full within 4 days",
        f"{_IS} is full within 4 days if it goes on as it did the last day. {_GROW}",
        (
            info() | _falling(100_000, 40_000, 5),
            info() | _falling(100_000, 90_000, 100),
            info() | of("total_bytes", f"100{LONG}") | of("available_bytes", f"1{LONG}"),
        ),
        early="30m", pace="5m",
    ),
    Case(
        "BackupStorageFillingUp",
        info("Ceph") | of("pool_stored_bytes", f"90000{LONG}") | of("pool_max_avail_bytes", f"50000-100{LONG}")
        # The cluster has room: this pool's OSDs have not.
        | of("total_bytes", f"1000000{LONG}") | of("available_bytes", f"900000{LONG}"),
        "12h", POOL, "images is full within 4 days",
        f"{_IS_POOL} is full within 4 days if it goes on as it did the last day. {_GROW_POOL}",
        (
            info("Ceph") | of("pool_stored_bytes", f"90000{LONG}") | of("pool_max_avail_bytes", f"50000{LONG}")
            | _falling(1_000_000, 400_000, 1000),
        ),
        pace="5m",
    ),
    Case(
        "BackupStorageNearlyFull", info() | _falling(1000, 40, 0), "20m", STORAGE,
        "images has 4% left", f"{_IS} has 4% of its room left. {_GROW}",
        (
            info() | _falling(1000, 50, 0), info(state="Disabled") | _falling(1000, 1, 0),
            info("Ceph") | _falling(1000, 10, 0) | of("pool_stored_bytes", f"1{LONG}")
            | of("pool_max_avail_bytes", f"9{LONG}"),
        ),
        severity="critical", early="10m",
    ),
    Case(
        "BackupStorageInodesLow", info() | of("total_inodes", f"1000{LONG}") | of("available_inodes", f"10{LONG}"),
        "20m", STORAGE, "images has 1% of its inodes left",
        f"{_IS} has 1% of its inodes left. {REASONS[ReasonCode.INODES_EXHAUSTED].cure}",
        (
            info() | of("total_inodes", f"0{LONG}") | of("available_inodes", f"0{LONG}"),  # a file system without
            info() | of("total_inodes", f"1000{LONG}") | of("available_inodes", f"60{LONG}"),
        ),
        early="10m",
    ),
    Case(
        "BackupStorageNumbersOld", info() | CONNECTED | MGR_DOWN | of("capacity_stale", f"1{LONG}"), "20m", STORAGE,
        "The numbers of images are old",
        f"{_IS}: its capacity is older than it should be. MgrDown: {words(ReasonCode.MGR_DOWN)}",
        (info() | of("capacity_stale", f"0{LONG}"),), early="10m",
    ),
)  # fmt: skip

AGENTS = (
    Case(
        "AgentAway", agent("up", f"0{LONG}") | agent("reason", f"1{LONG}", reason="AgentTimeout"), "3m", AGENT,
        "The agent at host:7765 does not answer",
        f"The agent at host:7765 has missed its polls. AgentTimeout: {words(ReasonCode.AGENT_TIMEOUT)}",
        (agent("up", f"1{LONG}") | agent("reason", f"1{LONG}", reason="AgentTimeout"),), early="1m",
    ),
    Case(
        "AgentCertificateEnds",
        agent("certificate_not_after_timestamp_seconds", f"{20 * 86400 + 2 * 3600}{LONG}"), "2h", AGENT,
        "The certificate of the agent at host:7765 ends",
        "The certificate of the agent at host:7765 ends in 20d 0h 0m 0s. Run `bs-agent rotate-certificate` on the host: "
        "management nodes have been told of the next one and go on.",
        (agent("certificate_not_after_timestamp_seconds", f"{40 * 86400}{LONG}"),), early="30m",
    ),
    Case(
        "AgentClockSkew", agent("clock_offset_seconds", f"-90{LONG}"), "15m", AGENT,
        "The clock of host:7765 is wrong",
        "The clock of the agent's host host:7765 is 1m 30s off that of the management node. Let a time service (chrony, "
        "systemd-timesyncd) set both; mons of Ceph fall out of the quorum at less.",
        (agent("clock_offset_seconds", f"2{LONG}"),), early="5m",
    ),
    Case(
        "AgentJournalUnavailable", {'bs_agent_journal_available{agent="a",instance="host:7765"}': f"0{LONG}"}, "6m",
        {"agent": "a", "instance": "host:7765"}, "The agent at host:7765 takes no commands",
        f"The agent at host:7765: {words(ReasonCode.JOURNAL_UNAVAILABLE)}",
        ({'bs_agent_journal_available{agent="a",instance="host:7765"}': f"1{LONG}"},), early="2m",
    ),
    Case(
        "AgentWorkerStuck", {'bs_agent_worker_stuck{agent="a",instance="host:7765",worker="mount /x"}': f"1{LONG}"},
        "15m", {"agent": "a", "instance": "host:7765", "worker": "mount /x"}, "A probe hangs on host:7765",
        f"The kernel of host:7765 holds the probe worker mount /x. {words(ReasonCode.DIRECTORY_HUNG)}",
        ({'bs_agent_worker_stuck{agent="a",instance="host:7765",worker="mount /x"}': f"0{LONG}"},), early="5m",
    ),
)  # fmt: skip


def _node(name: str, value: str) -> Series:
    return {f'bs_management_{name}{{instance="n1"}}': f"{value}{LONG}"}


NODES = (
    Case(
        "DebtOverdue", {'bs_management_debt_age_seconds{kind="clean_up"}': f"100000{LONG}"}, "2h", {"kind": "clean_up"},
        "An agent is owed a clean_up for 1d 3h 46m 40s",
        "A storage was deleted, or moved, while its host was away, and the host has not been cleaned for 1d 3h 46m 40s. "
        "Bring the agents back that are away (bs_management_agent_owed is 1 for them); what is owed to a host that is "
        "gone for good is given up after `[cleanup] debt_days`.",
        ({'bs_management_debt_age_seconds{kind="clean_up"}': f"80000{LONG}"},), early="30m",
    ),
    Case(
        "AgentsUnpolled", {"bs_management_agents_unheld": f"4{LONG}"}, "6m", {},
        "4 agents are polled by no management node",
        "No living management node polls 4 agents. Look at the log of the nodes: they take up what nobody polls within "
        "seconds, unless they cannot write to the database.",
        ({"bs_management_agents_unheld": f"0{LONG}"},), severity="critical", early="2m",
    ),
    Case(
        "WebHooksWaiting", {"bs_management_hook_lateness_seconds": f"1800{LONG}"}, "6m", {},
        "A web hook is due for 30m 0s",
        "Somebody who wants to be told how a job ended has not been reached for 30m 0s. Look at the log of the "
        "management node: it names the receiver and what it answered.",
        ({"bs_management_hook_lateness_seconds": f"300{LONG}"},), early="2m",
    ),
    Case(
        "ManagementNodeDown", {'up{job="bs-management",instance="n1"}': f"0{LONG}"}, "3m", NODE | {"job": "bs-management"},
        "The management node n1 cannot be scraped",
        "Prometheus gets no metrics of n1. Look at `systemctl status bs-management` and its log there, and at the token and "
        "the certificate that Prometheus uses.",
        ({'up{job="bs-management",instance="n1"}': f"1{LONG}"}, {'up{job="bs-agent",instance="n1"}': f"0{LONG}"}),
        severity="critical", early="1m", alone=True,
    ),
    Case(
        "ManagementNodeCannotWrite", _node("writable", "0"), "3m", NODE,
        "n1 cannot write to its database",
        "n1 cannot write what it learns of hosts: what is shown grows old. Look at the database: is its disk full or "
        "read-only, does it wait for a lock, is PostgreSQL a standby? `/readyz` of the node says what it said.",
        (_node("writable", "1"),), severity="critical", early="1m", alone=True,
    ),
    Case(
        "ManagementDatabaseAway", _node("database_up", "0"), "3m", NODE, "The database of n1 does not answer",
        "The database of n1 does not answer in time. Look at PostgreSQL and the network to it, or at the disk of the SQLite "
        "file.",
        (_node("database_up", "1"),), severity="critical", early="1m", alone=True,
    ),
    Case(
        "ManagementNodeClockSkew", _node("database_clock_offset_seconds", "45"), "15m", NODE, "The clock of n1 is wrong",
        "The clocks of n1 and its database differ by 45s. Let a time service (chrony, systemd-timesyncd) set both.",
        (_node("database_clock_offset_seconds", "-1"),), early="5m", alone=True,
    ),
    Case(
        "PollsLate", _lateness(100), "25m", NODE, "n1 polls its agents late",
        "One poll in ten of n1 is more than 57s late. Look at the load of the node; give it more processor, make `[poll] "
        "interval` longer, or let another node of the same database share.",
        (_lateness(5),), early="5m", alone=True,
    ),
    Case(
        "LogInsFail", {'bs_management_log_ins_total{instance="n1",outcome="failed"}': f"0+4{LONG}"}, "20m", NODE,
        "Log-ins at n1 fail",
        "60 log-ins at n1 have failed within a quarter of an hour. Somebody guesses, or a program has an old password: the "
        "log of the proxy, or of the program, says from where.",
        (
            {'bs_management_log_ins_total{instance="n1",outcome="opened"}': f"0+9{LONG}"},
            {'bs_management_log_ins_total{instance="n1",outcome="failed"}': f"0+1{LONG}"},
        ), alone=True,
    ),
)  # fmt: skip

CASES = (*STORAGES, *AGENTS, *NODES)
