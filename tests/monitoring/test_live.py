"""What the docs say of monitoring, on a live system: a real Prometheus scrapes a real management node and real agents.

The configuration, the rules and the dashboards are those of `docs/monitoring/`, and every expression in them finds
something here.
"""

import contextlib
import json
import re
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from bs_agent.contract.reasons import REASONS, ReasonCode
from tests.beds.agent import ROOT
from tests.beds.prometheus import MISSING, PROGRAM, Prometheus, prometheus, promtool
from tests.monitoring.site import Site, site

DOCS = ROOT / "docs" / "monitoring"
PATIENCE = 60.0
pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Prometheus]]:
    folder = tmp_path_factory.mktemp("monitoring")
    with site(folder) as there, prometheus(folder / "prometheus", configuration(folder, there)) as scraping:
        yield there, scraping


@pytest.fixture
def asked(live: tuple[Site, Prometheus]) -> Prometheus:
    return live[1]


@pytest.fixture
def there(live: tuple[Site, Prometheus]) -> Site:
    return live[0]


def configuration(folder: Path, there: Site) -> str:
    """Return the configuration of the docs, with the places and the pace of this test."""
    (block,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", (DOCS / "README.md").read_text())
    token = folder / "token"
    token.write_text(there.token)
    for written, here in {
        "/etc/prometheus/bs-management.token": str(token),
        "/etc/prometheus/bs-management.pem": str(there.certificate),
        "/etc/prometheus/bs-agent/alerts.yml": str(DOCS / "alerts.yml"),
        '"mn-1.example:8080", "mn-2.example:8080"': f'"127.0.0.1:{there.node.port}"',
        "mn-1.example:8080": f"127.0.0.1:{there.node.port}",
    }.items():
        assert written in block, written
        block = block.replace(written, here)
    whole: dict[str, Any] = yaml.safe_load(block)
    whole["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    for job in whole["scrape_configs"]:
        job.pop("scrape_interval", None)
        for discovery in job.get("http_sd_configs", ()):
            discovery["refresh_interval"] = "500ms"
    return str(yaml.safe_dump(whole))


def becomes(found: Callable[[], object], why: Callable[[], object] = lambda: "") -> None:
    """Wait until something is found."""
    until = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < until, why()
        time.sleep(0.1)


def test_the_node_and_its_agents_are_scraped(there: Site, asked: Prometheus) -> None:
    def health() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {"bs-management": set(), "bs-agent": set()}
        for target in asked.ask("targets")["activeTargets"]:
            found[target["scrapePool"]].add(target["health"])
        return found

    # One agent is away, and the mon host is played: it has no metrics.
    becomes(lambda: health() == {"bs-management": {"up"}, "bs-agent": {"up", "down"}}, lambda: asked.ask("targets"))
    (mine,) = asked.query(f'bs_agent_storage_total_bytes{{storage="{there.here}"}}')
    (known,) = asked.query("bs_management_agent_info * on (agent) group_left () bs_agent_build_info")
    assert mine["metric"]["agent"] == known["metric"]["agent"]
    assert mine["metric"]["instance"] == known["metric"]["address"], "as the agent is reached, not the node"
    (named,) = asked.query(f'bs_management_storage_info{{storage="{there.here}"}}')
    assert (named["metric"]["name"], named["metric"]["zone"]) == ("kept", "east")


def scraped(there: Site, path: str, accept: str = "") -> tuple[str, str]:
    """Return what a path of the node answers to who has the token, and its content type."""
    headers = {"Authorization": f"Bearer {there.token}", "Accept": accept}
    request = urllib.request.Request(there.node.url + path, headers=headers)  # noqa: S310  of ours
    trusted = ssl.create_default_context(cafile=str(there.certificate))
    with urllib.request.urlopen(request, timeout=30, context=trusted) as answer:  # noqa: S310
        return answer.read().decode(), answer.headers["Content-Type"]


def test_promtool_finds_nothing_to_mend_in_what_both_daemons_say(there: Site) -> None:
    listed = json.loads(scraped(there, "/prometheus/targets")[0])
    assert len(listed) == 3
    texts = [scraped(there, "/metrics")]
    for group in listed:
        with contextlib.suppress(urllib.error.HTTPError):  # one is away, and one is played
            texts.append(scraped(there, group["labels"]["__metrics_path__"]))
    assert len(texts) == 2
    for text, kind in texts:
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        done = promtool("check", "metrics", told=text)
        assert (done.returncode, done.stdout, done.stderr.strip()) == (0, "", "")
        assert "_created" not in text
    for path in ("/metrics", *(group["labels"]["__metrics_path__"] for group in listed)):
        with contextlib.suppress(urllib.error.HTTPError):
            text, kind = scraped(there, path, "application/openmetrics-text;version=1.0.0")
            assert kind.startswith("application/openmetrics-text; version=1.0.0")
            assert list(parse_openmetrics(text))  # type: ignore[no-untyped-call]


def test_a_node_that_cannot_write_says_so(there: Site) -> None:
    with contextlib.closing(sqlite3.connect(there.node.folder / "management.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = [""]

        def refused() -> bool:
            told[0], _ = scraped(there, "/metrics")  # or what Prometheus' own scrape has begun to read before
            return "\nbs_management_writable 0.0\n" in told[0]

        becomes(refused)
        other.execute("ROLLBACK")
    (text,) = told
    assert "\nbs_management_database_up 1.0\n" in text, "it can be read"
    assert f'bs_management_storage_status{{storage="{there.here}",status="Connected"}} 1' in text
    becomes(lambda: "\nbs_management_writable 1.0\n" in scraped(there, "/metrics")[0])


def expressions_of(board: str) -> list[tuple[str, str]]:
    """Return the expressions of a dashboard, by the titles of their panels."""
    panels = json.loads((DOCS / f"{board}.json").read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def filled(expr: str, storage: str) -> str:
    """Return an expression as Grafana sends it."""
    for name, value in {"$__rate_interval": "30s", "$instance": ".*", "$storage": storage}.items():
        expr = expr.replace(name, value)
    assert "$" not in expr
    return expr


@pytest.mark.parametrize("board", [path.stem for path in sorted(DOCS.glob("*.json"))])
def test_every_panel_shows_something(there: Site, asked: Prometheus, board: str) -> None:
    left = expressions_of(board)
    assert left

    def all_there() -> bool:
        left[:] = [
            (title, expr)
            for title, expr in left
            if not any(asked.query(filled(expr, one)) for one in (there.here, there.ceph))
        ]
        return not left

    becomes(all_there, lambda: left)


def test_every_choice_of_a_dashboard_offers_something(there: Site, asked: Prometheus) -> None:
    board = json.loads((DOCS / "storage.json").read_text())
    (_, variable) = board["templating"]["list"]
    query = re.fullmatch(r"query_result\((.*)\)", variable["query"]["query"])
    assert query
    offered = {}
    pattern = variable["regex"].strip("/").replace("(?<", "(?P<")
    for found in asked.query(query[1]):
        labels = ",".join(f'{name}="{value}"' for name, value in sorted(found["metric"].items()))
        named = re.search(pattern, f"bs_management_storage_info{{{labels}}} 1")
        assert named
        offered[named["value"]] = named["text"]
    assert offered[there.here] == "kept"
    assert offered[there.ceph] == "backups"
    board = json.loads((DOCS / "management-node.json").read_text())
    (_, variable) = board["templating"]["list"]
    asked_for = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
    assert asked_for
    assert asked.ask(f"label/{asked_for[2]}/values", **{"match[]": asked_for[1]}) == [f"127.0.0.1:{there.node.port}"]


def rules() -> list[dict[str, Any]]:
    """Return the alerts of the docs."""
    groups = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def judged(expr: str) -> str:
    """Return an expression that says yes or no of everything that it looks at, instead of leaving out what is well."""
    return re.sub(r" (==|<|>) ", r" \1 bool ", expr.replace("\n", " "))


def test_every_alert_looks_at_something(asked: Prometheus) -> None:
    left = {rule["alert"]: judged(rule["expr"]) for rule in rules()}
    assert len(left) > 20

    def all_there() -> bool:
        for name, expr in list(left.items()):
            if asked.query(expr):
                del left[name]
        return not left

    becomes(all_there, lambda: left)


def test_what_is_wrong_is_about_to_be_told_with_its_cure(there: Site, asked: Prometheus) -> None:
    wanted = {
        ("BackupStorageDisconnected", "lost"): ReasonCode.AGENT_UNREACHABLE,
        ("BackupStorageDisconnected", "others"): ReasonCode.NO_QUORUM,
        ("BackupStorageNotWell", "backups"): ReasonCode.MGR_DOWN,
        ("BackupStorageNumbersOld", "backups"): ReasonCode.MGR_DOWN,
        ("CephQuorumLost", "others"): ReasonCode.NO_QUORUM,
        ("CephMonDown", "backups"): ReasonCode.MON_OUT_OF_QUORUM,
        ("BackupStorageNearlyFull", "backups"): ReasonCode.POOL_FULL,
        ("AgentAway", ""): ReasonCode.AGENT_UNREACHABLE,
    }
    told: dict[tuple[str, str], str] = {}

    def all_told() -> bool:
        for alert in asked.ask("alerts")["alerts"]:
            key = (alert["labels"]["alertname"], alert["labels"].get("name", ""))
            told[key] = alert["annotations"]["description"]
        return wanted.keys() <= told.keys() and all(REASONS[code].cure in told[key] for key, code in wanted.items())

    becomes(all_told, lambda: told)
    well = {name for name, storage in told if storage == "kept"}
    assert well <= {"BackupStorageNearlyFull", "BackupStorageFillingUp", "BackupStorageInodesLow"}, "by this disk alone"
    assert all(rule["health"] == "ok" for group in asked.ask("rules")["groups"] for rule in group["rules"])


def test_the_docs_name_every_metric_and_no_other(there: Site, asked: Prometheus) -> None:
    page = (DOCS / "README.md").read_text()
    documented = set(re.findall(r"`(bs_(?:management|agent)_\w+)`", page))

    def shown() -> set[str]:
        names = asked.ask("label/__name__/values", **{"match[]": '{job=~"bs-management|bs-agent"}'})
        return {
            re.sub(r"_(bucket|count|sum)$", "", name)
            for name in names
            if name.startswith(("bs_management_", "bs_agent_"))
        }

    # Of a pool on a real agent, and of commands, there is nothing here: tests/ceph and tests/agent see them.
    elsewhere = {name for name in documented if name.startswith(("bs_agent_storage_pool_", "bs_agent_storage_m"))}
    elsewhere |= {"bs_agent_commands", "bs_agent_section_reason"}
    becomes(lambda: shown() >= documented - elsewhere, lambda: documented - elsewhere - shown())
    assert shown() <= documented, "docs/monitoring/README.md lists them all"


def test_no_token_is_written_anywhere(there: Site, asked: Prometheus) -> None:
    assert len(there.token) == 43
    for log in (there.node.log, asked.log):
        assert there.token not in log.read_text()
    for name in ("status/config", "targets"):
        assert there.token not in json.dumps(asked.ask(name))
