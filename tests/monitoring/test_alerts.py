"""The alert rules by Prometheus' own tool: each fires when it should, says what it should, and is silent otherwise."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from bs_agent.contract.reasons import REASONS, ReasonCode
from tests.beds.agent import ROOT
from tests.beds.prometheus import MISSING, TOOL, promtool
from tests.monitoring.cases import CASES, DISCONNECTED, LONG, STORAGE, Case, Series, info, of, words
from tests.test_docs import anchors

DOCS = ROOT / "docs" / "monitoring"
RULES = DOCS / "alerts.yml"
pytestmark = pytest.mark.skipif(TOOL is None, reason=MISSING)


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by their names."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def judge(folder: Path, *tests: dict[str, Any], only: str = "", pace: str = "1m") -> None:
    """Have promtool try the rules; of `only` one alert those that it needs, because each is judged at each moment."""
    rules = RULES
    if only:
        rules = folder / "rules.yml"
        needed = [
            rule
            for group in yaml.safe_load(RULES.read_text())["groups"]
            for rule in group["rules"]
            if rule.get("alert") == only or ("record" in rule and f'reason="{rule["labels"]["reason"]}"' in str(tests))
        ]
        rules.write_text(yaml.safe_dump({"groups": [{"name": "needed", "rules": needed}]}, sort_keys=False))
    whole = {"rule_files": [str(rules)], "evaluation_interval": pace, "tests": tests}
    (folder / "test.yml").write_text(yaml.safe_dump(whole, sort_keys=False))
    done = promtool("test", "rules", "test.yml", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def _series(series: Series, *, alone: bool) -> list[dict[str, str]]:
    if alone:
        return [{"series": name, "values": values} for name, values in series.items()]
    listed = []
    for name, values in series.items():
        metric, _, labels = name.rstrip("}").partition("{")
        listed += [
            {"series": f'{metric}{{node="{node}"{"," * bool(labels)}{labels}}}', "values": values} for node in "12"
        ]
    return listed


def _test(case: Case, series: Series, *looks: tuple[str, bool]) -> dict[str, Any]:
    told = {"summary": case.summary, "description": case.description, "runbook_url": _runbook(case.alert)}
    fires = [{"exp_labels": case.labels | {"severity": case.severity}, "exp_annotations": told}]
    return {
        "interval": case.pace,
        "input_series": _series(series, alone=case.alone),
        "alert_rule_test": [
            {"eval_time": at, "alertname": case.alert, "exp_alerts": fires if expected else []}
            for at, expected in looks
        ],
    }


def _runbook(alert: str) -> str:
    return f"docs/monitoring/runbook.md#{alert.lower()}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.labels.get('type', '')}")
def test_an_alert_fires_and_says_what_to_do(tmp_path: Path, case: Case) -> None:
    looks = [(case.at, True)]
    if case.early != "0m":
        looks.append((case.early, False))
    well = (_test(case, series, (case.at, False)) for series in case.well)
    judge(tmp_path, _test(case, case.series, *looks), *well, only=case.alert, pace=case.pace)
    assert case.well


def test_every_alert_has_its_case() -> None:
    assert {case.alert for case in CASES} == set(alerts())


def test_every_reason_is_told_in_the_words_of_the_contract(tmp_path: Path) -> None:
    tests = []
    for code in REASONS:
        said = f"Backup storage images (ImageStoreBackupStorage, s) cannot be used. {code}: {words(code)}"
        series = info() | DISCONNECTED | of("reason", f"1{LONG}", reason=str(code))
        case = Case("BackupStorageDisconnected", series, "3m", STORAGE, "images is Disconnected", said, (), "critical")
        tests.append(_test(case, series, ("3m", True)))
    judge(tmp_path, *tests)


def test_an_alert_goes_on_when_its_reason_becomes_another(tmp_path: Path) -> None:
    """The reason is no label: else each new one would be another alert, which waits anew."""
    series = info() | DISCONNECTED | of("reason", "1 1 stale", reason="AgentTimeout")
    series |= of("reason", "_ _ 1x100", reason="AgentUnreachable")
    said = f"AgentUnreachable: {words(ReasonCode.AGENT_UNREACHABLE)}"
    case = Case(
        "BackupStorageDisconnected", series, "3m", STORAGE, "images is Disconnected",
        f"Backup storage images (ImageStoreBackupStorage, s) cannot be used. {said}", (), "critical",
    )  # fmt: skip
    judge(tmp_path, _test(case, series, ("3m", True)))


def test_the_rules_are_well_formed_and_complete() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    headings = anchors(DOCS / "runbook.md")
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        said = rule["annotations"]
        assert set(said) == {"summary", "description", "runbook_url"}
        page, _, heading = said["runbook_url"].partition("#")
        assert (ROOT / page).exists()
        assert heading in headings
        assert len(said["summary"]) < 100, name


def test_the_runbook_shows_no_template() -> None:
    page = (DOCS / "runbook.md").read_text()
    assert not re.search(r"\{\{|\}\}|\$labels|\$value", page)
