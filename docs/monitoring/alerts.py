"""The alert rules and the page of what to do about them, with the cures of the contract: written by docs/generate.py."""

from dataclasses import dataclass

import yaml

from bs_agent.contract.reasons import REASONS, ReasonCode

RUNBOOK = "docs/monitoring/runbook.md"
NOTE = "# Written by docs/generate.py (`make docs`): do not edit. Its source is docs/monitoring/alerts.py.\n"

_NAMED = (
    '* on (storage) group_left (name, type, zone) topk by (storage) (1, bs_management_storage_info{state="Enabled"})'
)
_PLACED = "* on (agent) group_left (address) topk by (agent) (1, bs_management_agent_info)"
_ROOM = (
    "(max by (storage) (bs_management_storage_pool_max_avail_bytes)"
    " or max by (storage) (bs_management_storage_available_bytes))"
)
_WHOLE = (
    "(max by (storage) (bs_management_storage_pool_max_avail_bytes + bs_management_storage_pool_stored_bytes)"
    " or max by (storage) (bs_management_storage_total_bytes))"
)


@dataclass(frozen=True)
class Alert:
    """A rule. `page` says in the run-book what the alert means and how to look further."""

    name: str
    severity: str
    expr: str
    wait: str
    summary: str
    description: str
    page: str

    def rule(self) -> dict[str, object]:
        """Return the rule as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.wait,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOK}#{self.name.lower()}",
            },
        }


def cure(code: ReasonCode) -> str:
    """Return the words of a reason."""
    text = REASONS[code]
    return f"{text.meaning} {text.cure}"


WORDS = "bs:reason:words"
"""The series that a rule makes for each reason, so that its words stand in the file once."""


def _looked_up(metric: str, label: str) -> str:
    """Return a template that says a reason with its words, as it is when the alert is sent."""
    found = f"printf `max by (reason) ({metric}{{{label}=%q}})` $labels.{label} | query"
    words = f"printf `{WORDS}{{reason=%q}}` .Labels.reason | query"
    return f"{{{{ range {found} }}}}{{{{ .Labels.reason }}}}{{{{ range {words} }}}}: {{{{ .Labels.words }}}}{{{{ end }}}}{{{{ end }}}}"


STORAGE_REASON = _looked_up("bs_management_storage_reason", "storage")
AGENT_REASON = _looked_up("bs_management_agent_reason", "agent")
_STORAGE = "Backup storage {{ $labels.name }} ({{ $labels.type }}, {{ $labels.storage }})"
_LARGER = (
    f'{{{{ if eq $labels.type "Ceph" }}}}{REASONS[ReasonCode.POOL_FULL].cure}'
    f"{{{{ else }}}}{REASONS[ReasonCode.DIRECTORY_FULL].cure}{{{{ end }}}}"
)

ALERTS = (
    Alert(
        "BackupStorageDisconnected", "critical",
        f'max by (storage) (bs_management_storage_status{{status="Disconnected"}})\n{_NAMED}',
        "2m",
        "{{ $labels.name }} is Disconnected",
        f"{_STORAGE} cannot be used. {STORAGE_REASON}",
        "The storage cannot be used: no image is read or written there. Its reason says why; the page of errors has what "
        "each means. A storage that is Disabled on purpose raises no alert. `ReconnectBackupStorage` tries at once.",
    ),
    Alert(
        "BackupStorageUnobserved", "warning",
        f'max by (storage) (bs_management_storage_status{{status="Connecting"}})\n{_NAMED}',
        "15m",
        "{{ $labels.name }} is not seen",
        f"{_STORAGE} has been Connecting for a quarter of an hour. {STORAGE_REASON}",
        "Nobody knows how the storage is: no management node has asked its hosts, or an operation on it does not end.",
    ),
    Alert(
        "BackupStorageNotWell", "warning",
        '(max by (storage) (bs_management_storage_status{status="Connected"})\n'
        "and on (storage) max by (storage) (bs_management_storage_reason))\n" + _NAMED,
        "15m",
        "{{ $labels.name }} is not well",
        f"{_STORAGE} is Connected, but: {STORAGE_REASON}",
        "The storage can be used, and something is wrong with it that may stop that: it is read-only, full, slow, or one "
        "of its mons is gone.",
    ),
    Alert(
        "CephQuorumLost", "critical",
        f'max by (storage) (bs_management_storage_reason{{reason="{ReasonCode.NO_QUORUM}"}})\n{_NAMED}',
        "1m",
        "The cluster of {{ $labels.name }} has no quorum",
        f"{_STORAGE}: {cure(ReasonCode.NO_QUORUM)}",
        "The cluster answers nobody until more than half of its mons are there again. `ceph daemon mon.<name> mon_status` "
        "on a mon host says what that mon sees.",
    ),
    Alert(
        "CephMonDown", "warning",
        "(max by (storage) (bs_management_storage_mons)\n"
        "- max by (storage) (bs_management_storage_mons_in_quorum) > 0)\n" + _NAMED,
        "10m",
        "{{ $value }} mons of {{ $labels.name }} are out of the quorum",
        f"{_STORAGE} has {{{{ $value }}}} mons that are not in the quorum. "
        + REASONS[ReasonCode.MON_OUT_OF_QUORUM].cure,
        "The cluster goes on, and will not when some more of its mons go.",
    ),
    Alert(
        "BackupStorageFillingUp", "warning",
        "(\n"
        "  (max by (storage) (predict_linear(bs_management_storage_pool_max_avail_bytes[1d], 4 * 86400))\n"
        "   or max by (storage) (predict_linear(bs_management_storage_available_bytes[1d], 4 * 86400))) < 0\n"
        f"  and on (storage) {_ROOM}\n"
        f"    / {_WHOLE} < 0.5\n"
        f")\n{_NAMED}",
        "1h",
        "{{ $labels.name }} is full within 4 days",
        f"{_STORAGE} is full within 4 days if it goes on as it did the last day. {_LARGER}",
        "The line through the last day's free bytes meets zero within four days, and less than half is free. Change the "
        "`4` in the rule for another number of days.",
    ),
    Alert(
        "BackupStorageNearlyFull", "critical",
        f"(\n  {_ROOM}\n  / {_WHOLE} < 0.05\n)\n{_NAMED}",
        "15m",
        "{{ $labels.name }} has {{ $value | humanizePercentage }} left",
        f"{_STORAGE} has {{{{ $value | humanizePercentage }}}} of its room left. {_LARGER}",
        "Of an ImageStore what a user other than root can write counts, of a pool what Ceph says (`MAX AVAIL`).",
    ),
    Alert(
        "BackupStorageInodesLow", "warning",
        "(max by (storage) (bs_management_storage_available_inodes)\n"
        "/ max by (storage) (bs_management_storage_total_inodes) < 0.05)\n" + _NAMED,
        "15m",
        "{{ $labels.name }} has {{ $value | humanizePercentage }} of its inodes left",
        f"{_STORAGE} has {{{{ $value | humanizePercentage }}}} of its inodes left. "
        + REASONS[ReasonCode.INODES_EXHAUSTED].cure,
        "A file system without inodes takes no new file, however many bytes are free: `df -i` on the host.",
    ),
    Alert(
        "BackupStorageNumbersOld", "warning",
        f"(max by (storage) (bs_management_storage_capacity_stale) == 1)\n{_NAMED}",
        "15m",
        "The numbers of {{ $labels.name }} are old",
        f"{_STORAGE}: its capacity is older than it should be. {STORAGE_REASON}",
        "What is shown are the last good numbers: who places images by them may be wrong.",
    ),
    Alert(
        "AgentAway", "warning",
        f"(max by (agent) (bs_management_agent_up) == 0)\n{_PLACED}",
        "2m",
        "The agent at {{ $labels.address }} does not answer",
        f"The agent at {{{{ $labels.address }}}} has missed its polls. {AGENT_REASON}",
        "Its storages are Disconnected, unless another mon host sees theirs. `bs-agent doctor` on the host says what is "
        "wrong there.",
    ),
    Alert(
        "AgentCertificateEnds", "warning",
        "(max by (agent) (bs_management_agent_certificate_not_after_timestamp_seconds) - time() < 30 * 86400)\n" + _PLACED,
        "1h",
        "The certificate of the agent at {{ $labels.address }} ends",
        "The certificate of the agent at {{ $labels.address }} ends in {{ $value | humanizeDuration }}. Run `bs-agent "
        "rotate-certificate` on the host: management nodes have been told of the next one and go on.",
        "The next certificate is made already; the rotation puts it in the place of the present one while the agent runs.",
    ),
    Alert(
        "AgentClockSkew", "warning",
        f"(abs(max by (agent) (bs_management_agent_clock_offset_seconds)) > 30)\n{_PLACED}",
        "10m",
        "The clock of {{ $labels.address }} is wrong",
        "The clock of the agent's host {{ $labels.address }} is {{ $value | humanizeDuration }} off that of the management "
        "node. Let a time service (chrony, systemd-timesyncd) set both; mons of Ceph fall out of the quorum at less.",
        "The agent's word does not depend on its clock, but Ceph's mons and the dates in logs do.",
    ),
    Alert(
        "AgentJournalUnavailable", "warning",
        "max by (agent, instance) (bs_agent_journal_available) == 0",
        "5m",
        "The agent at {{ $labels.instance }} takes no commands",
        f"The agent at {{{{ $labels.instance }}}}: {cure(ReasonCode.JOURNAL_UNAVAILABLE)}",
        "It goes on to report; connect and clean-up are refused.",
    ),
    Alert(
        "AgentWorkerStuck", "warning",
        "max by (agent, instance, worker) (bs_agent_worker_stuck) == 1",
        "10m",
        "A probe hangs on {{ $labels.instance }}",
        "The kernel of {{ $labels.instance }} holds the probe worker {{ $labels.worker }}. "
        + cure(ReasonCode.DIRECTORY_HUNG),
        "A process that waits for a file system that does not answer cannot be killed.",
    ),
    Alert(
        "DebtOverdue", "warning",
        "max by (kind) (bs_management_debt_age_seconds) > 86400",
        "1h",
        "An agent is owed a {{ $labels.kind }} for {{ $value | humanizeDuration }}",
        "A storage was deleted, or moved, while its host was away, and the host has not been cleaned for "
        "{{ $value | humanizeDuration }}. Bring the agents back that are away (bs_management_agent_owed is 1 for them); "
        "what is owed to a host that is gone for good is given up after `[cleanup] debt_days`.",
        "The agent is cleaned as soon as it answers. What failed there is in the log of the management node.",
    ),
    Alert(
        "ManagementNodeDown", "critical",
        'up{job="bs-management"} == 0',
        "2m",
        "The management node {{ $labels.instance }} cannot be scraped",
        "Prometheus gets no metrics of {{ $labels.instance }}. Look at `systemctl status bs-management` and its log there, "
        "and at the token and the certificate that Prometheus uses.",
        "While no node runs no storage is watched. Several nodes of one database take over from one another.",
    ),
    Alert(
        "ManagementNodeCannotWrite", "critical",
        "bs_management_writable == 0",
        "2m",
        "{{ $labels.instance }} cannot write to its database",
        "{{ $labels.instance }} cannot write what it learns of hosts: what is shown grows old. Look at the database: is its "
        "disk full or read-only, does it wait for a lock, is PostgreSQL a standby? `/readyz` of the node says what it said.",
        "Nothing that was learnt is lost; it is written when that is possible again.",
    ),
    Alert(
        "ManagementDatabaseAway", "critical",
        "bs_management_database_up == 0",
        "2m",
        "The database of {{ $labels.instance }} does not answer",
        "The database of {{ $labels.instance }} does not answer in time. Look at PostgreSQL and the network to it, or at the "
        "disk of the SQLite file.",
        "The metrics of storages are missing meanwhile, and calls of the API fail.",
    ),
    Alert(
        "ManagementNodeClockSkew", "warning",
        "abs(bs_management_database_clock_offset_seconds) > 30",
        "10m",
        "The clock of {{ $labels.instance }} is wrong",
        "The clocks of {{ $labels.instance }} and its database differ by {{ $value | humanizeDuration }}. Let a time service "
        "(chrony, systemd-timesyncd) set both.",
        "Nodes decide by the database's clock; the dates that access keys sign are judged by the node's own.",
    ),
    Alert(
        "PollsLate", "warning",
        "histogram_quantile(0.9, sum by (instance, le) (rate(bs_management_poll_lateness_seconds_bucket[10m])))\n"
        "> on (instance) bs_management_poll_interval_seconds / 2",
        "10m",
        "{{ $labels.instance }} polls its agents late",
        "One poll in ten of {{ $labels.instance }} is more than {{ $value | humanizeDuration }} late. Look at the load of "
        "the node; give it more processor, make `[poll] interval` longer, or let another node of the same database share.",
        "What is shown of storages is older than it should be. docs/performance.md says what a node polls.",
    ),
    Alert(
        "AgentsUnpolled", "critical",
        "min(bs_management_agents_unheld) > 0",
        "5m",
        "{{ $value }} agents are polled by no management node",
        "No living management node polls {{ $value }} agents. Look at the log of the nodes: they take up what nobody polls "
        "within seconds, unless they cannot write to the database.",
        "Their storages become Unobserved.",
    ),
    Alert(
        "WebHooksWaiting", "warning",
        "max(bs_management_hook_lateness_seconds) > 900",
        "5m",
        "A web hook is due for {{ $value | humanizeDuration }}",
        "Somebody who wants to be told how a job ended has not been reached for {{ $value | humanizeDuration }}. Look at the "
        "log of the management node: it names the receiver and what it answered.",
        "Who waits for a web hook can ask for the job by its uuid instead.",
    ),
    Alert(
        "LogInsFail", "warning",
        'sum by (instance) (increase(bs_management_log_ins_total{outcome=~"failed|put_off"}[15m])) > 30',
        "0m",
        "Log-ins at {{ $labels.instance }} fail",
        "{{ $value | humanize }} log-ins at {{ $labels.instance }} have failed within a quarter of an hour. Somebody guesses, "
        "or a program has an old password: the log of the proxy, or of the program, says from where.",
        "Each address may fail 30 times at once and then once every six seconds.",
    ),
)  # fmt: skip


def rules() -> str:
    """Return the file of rules."""
    words = [
        {"record": WORDS, "expr": "vector(1)", "labels": {"reason": str(code), "words": cure(code)}} for code in REASONS
    ]
    # The words come first, and often: what an alert looks up must be there.
    groups = [{"name": "bs-agent-words", "rules": words}, {"name": "bs-agent", "rules": [one.rule() for one in ALERTS]}]
    return NOTE + yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes what has several lines as it is."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def runbook() -> str:
    """Return the page that the alerts lead to."""
    note = NOTE.removeprefix("# ").strip()
    parts = [f"<!-- {note} -->\n# Run-book\n\nWhat each alert of [alerts.yml](alerts.yml) means, and what to do.\n"]
    for alert in ALERTS:
        said = alert.description
        for template in (STORAGE_REASON, AGENT_REASON):
            said = said.replace(template, "*(the reason, its meaning and its cure: see [errors](../errors.md))*")
        said = said.replace(_LARGER, _in_words())
        said = (
            said.replace("{{ $labels.", "*").replace("{{ $value", "*value").replace(" }}", "*").replace("* | ", " | ")
        )
        said = said.replace("*value | humanizePercentage*", "*value*").replace("*value | humanizeDuration*", "*value*")
        said = said.replace("*value | humanize*", "*value*")
        parts.append(
            f"## {alert.name}\n\n{alert.severity.capitalize()}, after {alert.wait}. {alert.page}\n\n"
            f"**What to do:** {said}\n\n```promql\n{alert.expr}\n```\n"
        )
    return "\n".join(parts)


def _in_words() -> str:
    pool, directory = REASONS[ReasonCode.POOL_FULL].cure, REASONS[ReasonCode.DIRECTORY_FULL].cure
    return f"Of a pool: {pool} Of an ImageStore: {directory}"
