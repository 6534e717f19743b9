"""The dashboards as Grafana reads them: by its own schema, nothing in them is unknown to it, and nothing overlaps."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from bs_agent.contract.reasons import REASONS
from tests.beds.agent import ROOT

BOARDS = sorted((ROOT / "docs" / "monitoring").glob("*.json"))


def lost(sent: Any, read: Any, where: str = "") -> list[str]:
    """Return what of a value is not as it was sent once it was read."""
    if isinstance(sent, dict) and isinstance(read, dict):
        missing = [f"{where}.{key}" for key in sent if key not in read]
        return missing + [one for key in sent if key in read for one in lost(sent[key], read[key], f"{where}.{key}")]
    if isinstance(sent, list) and isinstance(read, list) and len(sent) == len(read):
        pairs = enumerate(zip(sent, read, strict=True))
        return [one for at, (mine, its) in pairs for one in lost(mine, its, f"{where}[{at}]")]
    return [] if sent == read else [where]


def read_by_grafana(board: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard as the schema of Grafana 10.1 has understood it."""
    register_default_plugins()
    read: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
    return read


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_grafana_knows_all_that_a_dashboard_says(path: Path) -> None:
    board = json.loads(path.read_text())
    assert lost(board, read_by_grafana(board)) == []
    board["panels"][0]["options"]["colourMode"] = "value"
    board["panels"][0]["targets"][0]["expression"] = "up"
    found = lost(board, read_by_grafana(board))
    assert sorted(found) == [".panels[0].options.colourMode", ".panels[0].targets[0].expression"], "it finds others"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_lie_beside_one_another(path: Path) -> None:
    panels = json.loads(path.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_source_and_variable_is_declared(path: Path) -> None:
    text = path.read_text()
    board = json.loads(text)
    declared = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", re.sub(r"\$__\w+", "", text)))
    assert used == declared
    for panel in board["panels"]:
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_dashboards_lead_to_one_another() -> None:
    boards = [json.loads(path.read_text()) for path in BOARDS]
    uids = {board["uid"] for board in boards}
    assert len(uids) == len(boards) == 3
    for board in boards:
        assert {link["url"].removeprefix("/d/") for link in board["links"]} == uids - {board["uid"]}


def test_reasons_are_shown_with_the_words_of_the_contract() -> None:
    found = 0
    for path in BOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            texts = [mapping["options"] for mapping in panel["fieldConfig"]["defaults"]["mappings"]]
            if "reason" in str(panel["targets"]) and panel["type"] == "table":
                found += 1
                for code, said in REASONS.items():
                    assert texts[0][code]["text"] == f"{code}: {said.meaning} {said.cure}"
    assert found == 3
