"""The Grafana dashboards: written by docs/generate.py as the JSON that Grafana imports."""

import json
from dataclasses import dataclass
from typing import Any

from bs_agent.contract.reasons import REASONS

SCHEMA = 38
"""Of Grafana 10.1; later ones bring it up to theirs."""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
INFO = "group_left (name, type, zone) topk by (storage) (1, bs_management_storage_info)"
ROOM = (
    "(max by (storage) (bs_management_storage_pool_max_avail_bytes)"
    " or max by (storage) (bs_management_storage_available_bytes))"
)
WHOLE = (
    "(max by (storage) (bs_management_storage_pool_max_avail_bytes + bs_management_storage_pool_stored_bytes)"
    " or max by (storage) (bs_management_storage_total_bytes))"
)
SLOPE = (
    "(max by (storage) (deriv(bs_management_storage_pool_max_avail_bytes[1d]))"
    " or max by (storage) (deriv(bs_management_storage_available_bytes[1d])))"
)
DAYS = f"clamp_max({ROOM} / clamp_min(-{SLOPE}, 1e-3) / 86400, 3650)"
"""Days until a storage is full, by the line through its last day; ten years stand for never."""

NO_POOL = "unless on (storage) max by (storage) (bs_management_storage_pool_stored_bytes)"

GOOD, BAD, SOSO = "green", "red", "orange"


@dataclass(frozen=True)
class Panel:
    """A panel: `queries` are expressions with their legends; a table shows the labels that `columns` names."""

    title: str
    kind: str
    queries: tuple[tuple[str, str], ...]
    width: int = 6
    height: int = 4
    unit: str = "short"
    says: str = ""
    columns: tuple[str, ...] = ()
    value: str = "Value"
    thresholds: tuple[tuple[float, str], ...] = ()
    mappings: tuple[dict[str, Any], ...] = ()
    stacked: bool = False
    most: float | None = None


@dataclass(frozen=True)
class Dashboard:
    """A dashboard: rows of panels, and what may be chosen."""

    uid: str
    title: str
    says: str
    panels: tuple[Panel, ...]
    variables: tuple[dict[str, Any], ...] = ()


def _words() -> dict[str, Any]:
    """Return the mapping by which a reason is shown with its meaning and its cure."""
    texts = {
        str(code): {
            "text": f"{code}: {text.meaning} {text.cure}",
            "color": BAD if text.blocking else SOSO,
            "index": index,
        }
        for index, (code, text) in enumerate(REASONS.items())
    }
    return {"type": "value", "options": texts}


def _named(**texts: tuple[str, str]) -> dict[str, Any]:
    options = {
        value.lstrip("_"): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(texts.items())
    }
    return {"type": "value", "options": options}


UP = (_named(_0=("no", BAD), _1=("yes", GOOD)),)
STALE = (_named(_0=("fresh", GOOD), _1=("old", BAD)),)
STATUS = (_named(Connected=("Connected", GOOD), Connecting=("Connecting", SOSO), Disconnected=("Disconnected", BAD)),)
OF_STATUS = (_named(_2=("Connected", GOOD), _1=("Connecting", SOSO), _0=("Disconnected", BAD)),)
WORDS = (_words(), *STATUS)
NONE_IS_WELL = ((0, GOOD), (1, BAD))


def stat(title: str, query: str, **more: Any) -> Panel:
    """Return a panel of one number, or of one for each legend."""
    legend = more.pop("legend", "")
    return Panel(title, "stat", ((query, legend),), **more)


def curve(title: str, *queries: tuple[str, str], **more: Any) -> Panel:
    """Return a panel of curves."""
    return Panel(title, "timeseries", queries, **{"width": 12, "height": 8, **more})


def table(title: str, query: str, columns: tuple[str, ...], **more: Any) -> Panel:
    """Return a table of the labels of series and of their values."""
    return Panel(title, "table", ((query, ""),), columns=columns, **{"width": 24, "height": 8, **more})


_NOT_WELL = (
    "topk by (storage) (1, max by (storage, reason) (bs_management_storage_reason))"
    " * on (storage) group_left (status) topk by (storage) (1, max by (storage, status) (bs_management_storage_status))"
    f" * on (storage) {INFO}"
)
FLEET = Dashboard(
    "bs-agent-fleet", "Backup storages: fleet", "Which storage is in trouble, why, and what to do; how much room is left.",
    (
        stat("Disconnected", 'sum(max by (type, state, status) (bs_management_storages{status="Disconnected"}))',
             thresholds=NONE_IS_WELL, says="Storages that cannot be used."),
        stat("Connecting", 'sum(max by (type, state, status) (bs_management_storages{status="Connecting"}))',
             thresholds=((0, GOOD), (1, SOSO))),
        stat("Connected", 'sum(max by (type, state, status) (bs_management_storages{status="Connected"}))',
             thresholds=((0, GOOD),)),
        stat("Agents that do not answer", "sum(bs_management_agents_away)", thresholds=NONE_IS_WELL),
        table("Not well, with what to do", f"sort_desc({_NOT_WELL})", ("name", "status", "reason", "type", "zone", "storage"),
              mappings=WORDS, says="The words are those of docs/errors.md. Empty when all is well."),
        table("Least room", f"bottomk(20, {ROOM} / {WHOLE}) * on (storage) {INFO}", ("name", "type", "zone", "storage"),
              value="left", unit="percentunit", width=12, thresholds=((0, BAD), (0.1, SOSO), (0.25, GOOD)), most=1),
        table("Full soonest", f"bottomk(20, {DAYS}) * on (storage) {INFO}", ("name", "type", "zone", "storage"),
              value="days", unit="d", width=12, thresholds=((0, BAD), (7, SOSO), (30, GOOD)),
              says="By the line through the last day's free bytes; 3650 stands for never."),
        curve("Room of the directories",
              (f"sum(max by (storage) (bs_management_storage_total_bytes) {NO_POOL})", "total"),
              (f"sum(max by (storage) (bs_management_storage_available_bytes) {NO_POOL})", "available"),
              unit="bytes"),
        curve("Room of the pools",
              ("sum(max by (storage) (bs_management_storage_pool_stored_bytes))", "stored"),
              ("sum(max by (storage) (bs_management_storage_pool_max_avail_bytes))", "max avail"),
              unit="bytes", says="Pools of one cluster share what is available."),
        curve("Storages by status", ("sum by (status) (max by (type, state, status) (bs_management_storages))",
                                     "{{status}}"), stacked=True),
        curve("Numbers that are old", ("sum(max by (storage) (bs_management_storage_capacity_stale))", "storages")),
        table("Agents", "max by (agent) (bs_management_agent_up) * on (agent) group_left (address, version)"
              " topk by (agent) (1, bs_management_agent_info)", ("address", "version", "agent"), value="answers",
              mappings=UP, width=12),
        table("Agents that do not answer, with what to do",
              "max by (agent, reason) (bs_management_agent_reason) * on (agent) group_left (address)"
              " topk by (agent) (1, bs_management_agent_info)", ("address", "reason", "agent"), mappings=WORDS, width=12),
    ),
)  # fmt: skip

_OF = 'storage="$storage"'
STORAGE = Dashboard(
    "bs-agent-storage", "Backup storages: one storage", "How one storage is, how full, and since when.",
    (
        stat("Status", f'2 * max(bs_management_storage_status{{{_OF},status="Connected"}})'
             f' or max(bs_management_storage_status{{{_OF},status="Connecting"}})'
             f' or 0 * max(bs_management_storage_status{{{_OF},status="Disconnected"}})', mappings=OF_STATUS),
        stat("Room left", f"max({ROOM.replace('_bytes)', f'_bytes{{{_OF}}})')} / {WHOLE})", unit="percentunit",
             thresholds=((0, BAD), (0.1, SOSO), (0.25, GOOD)), most=1),
        stat("Days until full", f"min({DAYS} and on (storage) bs_management_storage_info{{{_OF}}})", unit="d",
             thresholds=((0, BAD), (7, SOSO), (30, GOOD)), says="3650 stands for never."),
        stat("Age of the numbers", f"max(bs_management_storage_capacity_age_seconds{{{_OF}}})", unit="s",
             says="While they stay the same, within the hour."),
        table("Why it is not well, and what to do", f"max by (reason) (bs_management_storage_reason{{{_OF}}})", ("reason",),
              mappings=WORDS, height=4),
        curve("Capacity", (f"max(bs_management_storage_total_bytes{{{_OF}}})", "total"),
              (f"max(bs_management_storage_available_bytes{{{_OF}}})", "available"), unit="bytes"),
        curve("Pool", (f"max(bs_management_storage_pool_stored_bytes{{{_OF}}})", "stored"),
              (f"max(bs_management_storage_pool_used_bytes{{{_OF}}})", "used"),
              (f"max(bs_management_storage_pool_available_bytes{{{_OF}}})", "available"),
              (f"max(bs_management_storage_pool_max_avail_bytes{{{_OF}}})", "max avail"), unit="bytes"),
        curve("Status over time", (f"max by (status) (bs_management_storage_status{{{_OF}}})", "{{status}}")),
        curve("Inodes", (f"max(bs_management_storage_total_inodes{{{_OF}}})", "total"),
              (f"max(bs_management_storage_available_inodes{{{_OF}}})", "available")),
        curve("Mons", (f"max(bs_management_storage_mons{{{_OF}}})", "mons"),
              (f"max(bs_management_storage_mons_in_quorum{{{_OF}}})", "in quorum")),
        curve("Hosts", (f"max(bs_management_storage_hosts{{{_OF}}})", "hosts"),
              (f"max(bs_management_storage_hosts_connected{{{_OF}}})", "connected")),
        curve("Numbers are old", (f"max(bs_management_storage_capacity_stale{{{_OF}}})", "old"), mappings=STALE),
        curve("How long probes take, on each host",
              (f"max by (instance, section) (bs_agent_probe_duration_seconds{{{_OF}}})", "{{instance}} {{section}}"),
              unit="s", says="Of the agents' own metrics."),
        curve("Age of each value, on each host",
              (f"max by (instance, section) (bs_agent_section_age_seconds{{{_OF}}})", "{{instance}} {{section}}"),
              unit="s", says="Of the agents' own metrics."),
    ),
    variables=({
        "name": "storage", "label": "Storage", "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
        "query": {"query": "query_result(topk by (storage) (1, bs_management_storage_info))", "refId": "storages"},
        "regex": '/name="(?<text>[^"]*)".*storage="(?<value>[^"]*)"/',
    },),
)  # fmt: skip

_AT = 'instance=~"$instance"'


def _quantile(share: float, name: str, by: str = "") -> str:
    return f"histogram_quantile({share}, sum by (le{by}) (rate({name}_bucket{{{_AT}}}[$__rate_interval])))"


NODE = Dashboard(
    "bs-agent-node", "Backup storages: management nodes", "Whether the management nodes keep up.",
    (
        stat("Up", 'up{job="bs-management"}', legend="{{instance}}", mappings=UP, width=4),
        stat("Database answers", f"bs_management_database_up{{{_AT}}}", legend="{{instance}}", mappings=UP, width=4),
        stat("Can write", f"bs_management_writable{{{_AT}}}", legend="{{instance}}", mappings=UP, width=4),
        stat("Living nodes", "max(bs_management_nodes)", width=4),
        stat("Agents that nobody polls", "min(bs_management_agents_unheld)", thresholds=NONE_IS_WELL, width=4),
        stat("What is left of the lease", f"bs_management_lease_seconds{{{_AT}}}", legend="{{instance}}", unit="s", width=4),
        curve("Calls by status", (f"sum by (status) (rate(bs_management_requests_total{{{_AT}}}[$__rate_interval]))",
                                  "{{status}}"), unit="reqps", stacked=True),
        curve("How long calls take", (_quantile(0.5, "bs_management_request_seconds"), "half"),
              (_quantile(0.99, "bs_management_request_seconds"), "99 %"), unit="s"),
        curve("Polls", (f"sum by (outcome) (rate(bs_management_polls_total{{{_AT}}}[$__rate_interval]))", "{{outcome}}"),
              unit="reqps", stacked=True),
        curve("Missed polls", (f"sum by (reason) (rate(bs_management_polls_missed_total{{{_AT}}}[$__rate_interval]))",
                               "{{reason}}"), unit="reqps"),
        curve("How long agents take", (_quantile(0.5, "bs_management_poll_seconds"), "half"),
              (_quantile(0.99, "bs_management_poll_seconds"), "99 %"), unit="s"),
        curve("How late polls are", (_quantile(0.5, "bs_management_poll_lateness_seconds"), "half"),
              (_quantile(0.99, "bs_management_poll_lateness_seconds"), "99 %"),
              (f"max(bs_management_poll_interval_seconds{{{_AT}}})", "interval"), unit="s"),
        curve("Agents", (f"bs_management_agents_watched{{{_AT}}}", "{{instance}} polls"),
              (f"bs_management_agents_away{{{_AT}}}", "{{instance}} away"), ("max(bs_management_agents_known)", "known")),
        curve("Agents by version", ("sum by (version) (bs_management_agents)", "{{version}}"), stacked=True),
        curve("Pushes", (f"sum by (outcome) (rate(bs_management_pushes_total{{{_AT}}}[$__rate_interval]))", "{{outcome}}"),
              unit="reqps", stacked=True),
        curve("News that wait to be written", (f"bs_management_news_waiting{{{_AT}}}", "{{instance}}")),
        curve("Operations under way", ("sum by (kind) (max by (kind) (bs_management_operations))", "{{kind}}"),
              stacked=True),
        curve("Jobs", (f"sum by (outcome) (increase(bs_management_jobs_ended_total{{{_AT}}}[$__rate_interval]))",
                       "{{outcome}}"), (f"sum(bs_management_jobs_running{{{_AT}}})", "running"),
              ("sum by (state) (max by (state) (bs_management_jobs))", "kept: {{state}}")),
        curve("Debts", ("max by (kind) (bs_management_debts)", "{{kind}}"),
              ("max by (kind) (bs_management_debts_failed)", "{{kind}}, tried in vain")),
        curve("Age of the oldest debt", ("max by (kind) (bs_management_debt_age_seconds)", "{{kind}}"),
              ("max(bs_management_debt_limit_seconds)", "given up"), unit="s"),
        curve("Web hooks", ("max(bs_management_hooks)", "waiting"), ("max(bs_management_hooks_failed)", "tried in vain")),
        curve("How late web hooks are", ("max(bs_management_hook_lateness_seconds)", "oldest"), unit="s"),
        curve("Log-ins", (f"sum by (outcome) (increase(bs_management_log_ins_total{{{_AT}}}[$__rate_interval]))",
                          "{{outcome}}"), ("max(bs_management_sessions)", "sessions")),
        curve("Clocks", (f"bs_management_database_clock_offset_seconds{{{_AT}}}", "database, of {{instance}}"),
              ("max(abs(bs_management_agent_clock_offset_seconds))", "worst agent"), unit="s"),
        curve("Soonest end of an agent's certificate",
              ("min(bs_management_agent_certificate_not_after_timestamp_seconds) - time()", "left"), unit="s"),
        curve("Processor", (f'rate(process_cpu_seconds_total{{job="bs-management",{_AT}}}[$__rate_interval])', "{{instance}}"),
              unit="percentunit"),
        curve("Memory", (f'process_resident_memory_bytes{{job="bs-management",{_AT}}}', "{{instance}}"), unit="bytes"),
        curve("Open files", (f'process_open_fds{{job="bs-management",{_AT}}}', "{{instance}}"),
              (f'process_max_fds{{job="bs-management",{_AT}}}', "{{instance}}, at most")),
    ),
    variables=({
        "name": "instance", "label": "Node", "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
        "multi": True, "includeAll": True, "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "query": {"query": "label_values(bs_management_build_info, instance)", "refId": "instances"},
    },),
)  # fmt: skip

DASHBOARDS = {"fleet": FLEET, "storage": STORAGE, "management-node": NODE}


def written() -> dict[str, str]:
    """Return the dashboards as JSON, by the names of their files."""
    return {f"{name}.json": json.dumps(_whole(board), indent=1) + "\n" for name, board in DASHBOARDS.items()}


def _whole(board: Dashboard) -> dict[str, Any]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}
    links = [
        {"title": other.title, "type": "link", "url": f"/d/{other.uid}", "keepTime": True, "targetBlank": False}
        for other in DASHBOARDS.values()
        if other is not board
    ]
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.says,
        "tags": ["bs-agent"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "links": links,
        "templating": {"list": [source, *board.variables]},
        "annotations": {"list": []},
        "panels": list(_placed(board.panels)),
    }


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """Return the panels as Grafana reads them, each beside or below the one before."""
    placed, x, y, row = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > 24:
            x, y, row = 0, y + row, 0
        place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        placed.append({"id": number, "gridPos": place, **_panel(panel)})
        x, row = x + panel.width, max(row, panel.height)
    return placed


def _panel(panel: Panel) -> dict[str, Any]:
    is_table, is_curve = panel.kind == "table", panel.kind == "timeseries"
    targets = [
        {
            "refId": chr(ord("A") + at),
            "datasource": SOURCE,
            "expr": expr,
            "legendFormat": legend or "__auto",
            "instant": not is_curve,
            "range": is_curve,
            "format": "table" if is_table else "time_series",
            "editorMode": "code",
        }
        for at, (expr, legend) in enumerate(panel.queries)
    ]
    whole: dict[str, Any] = {
        "title": panel.title,
        "description": panel.says,
        "type": panel.kind,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }
    if is_table:
        whole["transformations"] = [_organized(panel)]
    return whole


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = panel.thresholds or ((0, "text"),)
    thresholds = [{"color": color, "value": value if at else None} for at, (value, color) in enumerate(steps)]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "mappings": list(panel.mappings),
        "thresholds": {"mode": "absolute", "steps": thresholds},
        "color": {"mode": "thresholds" if panel.kind != "timeseries" else "palette-classic"},
    }
    if panel.most is not None:
        defaults |= {"min": 0, "max": panel.most}
    if panel.kind == "timeseries":
        custom: dict[str, Any] = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
        defaults["custom"] = custom | ({"stacking": {"mode": "normal", "group": "A"}} if panel.stacked else {})
    if panel.kind == "table":
        defaults["custom"] = {
            "align": "auto",
            "filterable": True,
            "cellOptions": {"type": "color-text", "wrapText": True},
        }
    return defaults


def _organized(panel: Panel) -> dict[str, Any]:
    """Return what shows the wanted labels in their order, and the value only where it has a name."""
    shown = [*panel.columns, *(["Value"] if panel.value != "Value" else [])]
    return {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True, **({} if "Value" in shown else {"Value": True})},
            "indexByName": {name: at for at, name in enumerate(shown)},
            "renameByName": {"Value": panel.value} if panel.value != "Value" else {},
        },
    }


_REDUCED = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {
        "reduceOptions": _REDUCED, "colorMode": "value", "graphMode": "none", "justifyMode": "auto",
        "orientation": "auto", "textMode": "auto",
    },
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "countRows": False}},
}  # fmt: skip
