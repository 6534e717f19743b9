"""The short verbs at a real management node and a real agent."""

import json
from collections.abc import Iterator

import pytest

from bs_agent.client.cli import catalog
from bs_agent.client.cli.commands import VERB_CALLS, VERBS
from bs_agent.client.cli.preview import lines
from bs_agent.client.cli.verbs import _RUNS, AGENT_FIELDS, DEBT_FIELDS, EVENT_FIELDS
from bs_agent.contract.api import APIS
from bs_agent.contract.reasons import REASONS, ReasonCode
from tests.client.cli.conftest import Operator
from tests.client.terminal import BS_CLI, terminal


@pytest.fixture
def store(operator: Operator) -> Iterator[str]:
    """A backup storage called `store`."""
    uuid = operator.add("store")
    yield uuid
    operator.cli("DeleteBackupStorage", f"uuid={uuid}", "deleteMode=Enforcing")


def test_each_verb_is_listed_and_does_something() -> None:
    listed = [verb.partition(" [")[0].removesuffix(" NAME") for verb in VERBS]
    assert listed == list(VERB_CALLS) == list(_RUNS)
    assert set(filter(None, VERB_CALLS.values())) <= set(APIS)


@pytest.mark.parametrize(
    ("call", "names"),
    [("QueryAgent", AGENT_FIELDS), ("QueryEvent", EVENT_FIELDS), ("QueryDebt", DEBT_FIELDS)],
)
def test_the_columns_of_a_table_are_fields(call: str, names: tuple[str, ...]) -> None:
    inventory = APIS[call].queries
    assert inventory is not None
    assert set(names) <= set(catalog.shown(inventory))


def test_storages_are_shown_with_reason_and_cure(operator: Operator, store: str) -> None:
    assert operator.cli("health").stdout == "ok\n"
    done = operator.cli("storages", "fields=name,status", "--output", "tsv")
    assert done.stdout.splitlines() == ["name\tstatus", "store\tConnected"]
    operator.lose("store")
    operator.until("down")
    assert operator.cli("health").returncode == 5
    assert json.loads(operator.cli("health", "--json").stdout) == {"health": "down"}
    cure = REASONS[ReasonCode.MARKER_MISSING].cure
    for words in (("storages",), ("storages", "show", "store"), ("storages", "show", store)):
        done = operator.cli(*words, "--output", "table")
        assert "MarkerMissing: " in done.stdout
        assert f"-> {cure}" in " ".join(done.stdout.split())
    assert json.loads(operator.cli("storages", "show", "store").stdout)["inventory"]["uuid"] == store
    assert operator.cli("storages", "reconnect", "store").returncode == 0
    operator.until("ok")
    assert operator.cli("health").returncode == 0
    events = json.loads(operator.cli("storages", "events", "store").stdout)["inventories"]
    assert ("Connected", "Disconnected") in {(one.get("oldValue"), one.get("newValue")) for one in events}
    assert {one["resourceUuid"] for one in events} == {store}
    table = operator.cli("events", f"resourceUuid={store}", "type=StatusChanged", "--output", "table")
    assert "MarkerMissing" in " ".join(table.stdout.split()) or "Disconnected" in table.stdout
    jobs = json.loads(operator.cli("jobs", f"resourceUuid={store}").stdout)["inventories"]
    assert jobs[0]["apiName"] == "ReconnectBackupStorage"


def test_agents_debts_and_capacities(operator: Operator, store: str) -> None:
    (agent,) = json.loads(operator.cli("agents", "hostname=127.0.0.1").stdout)["inventories"]
    assert store in agent["backupStorageUuids"]
    assert "127.0.0.1" in operator.cli("agents", "--output", "table").stdout
    assert json.loads(operator.cli("debts").stdout)["inventories"] == []
    assert operator.cli("mons", "--output", "tsv").stdout.startswith("backupStorageName\thostname\t")
    history = json.loads(operator.cli("storages", "capacity", "store", "period=hour").stdout)
    assert history["resolution"] == 60
    lines = operator.cli("storages", "capacity", "store", "--output", "tsv").stdout.splitlines()
    assert lines[0].startswith("date\tavailableCapacity\ttotalCapacity")
    assert operator.cli("storages", "capacity", store, "--output", "table").stdout.endswith("it is not filling\n")
    assert "period" in operator.cli("storages", "capacity", "store", "period=week").stderr


def test_a_delete_is_shown_before_it_is_done(operator: Operator, store: str) -> None:
    shown = operator.cli("storages", "delete", "store", "--dry-run", "--output", "table")
    assert shown.returncode == 0
    assert f"store ({store}): a delete, Permissive, would delete the record; images are kept\n" in shown.stdout
    assert "  127.0.0.1: is cleaned at once\n    remove " in shown.stdout
    assert json.loads(operator.cli("storages", "delete", store, "--dry-run").stdout)["inventory"]["uuid"] == store
    assert json.loads(operator.cli("DeleteBackupStorage", f"uuid={store}", "--dry-run").stdout)["inventory"]["hosts"]
    unasked = operator.cli("storages", "delete", "store")
    assert (unasked.returncode, unasked.stdout) == (2, "")
    assert "elsewhere write --yes" in unasked.stderr
    with terminal(operator.home, [*BS_CLI, "storages", "delete", "store"]) as screen:
        screen.expect("is cleaned at once", "Type the name to delete it")
        screen.send("stor\r")
        assert screen.end() == 2
        assert "that is not its name: nothing was deleted" in screen.shown
    assert operator.cli("storages", "show", "store").returncode == 0
    with terminal(operator.home, [*BS_CLI, "storages", "delete", "store"]) as screen:
        screen.expect("Type the name to delete it")
        screen.send("store\r")
        assert screen.end() == 0
    gone = operator.cli("storages", "show", store)
    assert gone.returncode == 3
    assert "SYS.1003" in gone.stderr
    again = operator.add("store")
    assert operator.cli("storages", "delete", "store", "--yes").returncode == 0
    assert operator.cli("storages", "show", again).returncode == 3


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["storages", "shwo", "x"], "there is no verb `storages shwo`; did you mean show?"),
        (["storages", "delete", "--yes"], "`storages delete` wants the name or the uuid of a"),
        (["storages", "--dry-run"], "--dry-run is for `storages delete` and DeleteBackupStorage"),
        (["storages", "show", "x", "--yes"], "--yes is for `storages delete`"),
        (["storages", "statu=x"], "did you mean status"),
        (["storages", "status"], "'status' is no condition: write FIELD, one of = !="),
        (["health", "please"], "`health` takes no words"),
        (["storage"], "did you mean storages"),
    ],
)
def test_wrong_verbs(operator: Operator, words: list[str], why: str) -> None:
    done = operator.cli(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr


def test_health_is_unknown_where_nobody_answers_or_is_logged_in(operator: Operator) -> None:
    done = operator.cli("--url", "http://127.0.0.1:1", "health")
    assert (done.returncode, done.stdout) == (3, "unknown\n")
    assert "not logged in" in done.stderr


def test_a_preview_says_what_keeps_a_delete_from_being_done() -> None:
    reason = {"code": "AgentUnreachable", "details": "h:7765: Connection refused"}
    host = {"hostname": "h", "reason": reason, "cure": "Start it.", "permissive": "Refused", "enforcing": "Owed"}
    preview = {"name": "a", "uuid": "u", "permissive": "Refused", "hosts": [host]}
    said = "\n".join(lines(preview, "Permissive"))
    assert "would be refused: nothing would be deleted" in said
    assert "  h: cannot be cleaned now, so the delete would fail\n    AgentUnreachable: h:7765" in said
    assert "    -> Start it." in said
    assert "deleteMode=Enforcing" in said
    later = "\n".join(lines(preview, "Enforcing"))
    assert "h: is cleaned when it comes back" in later
    assert "refused" not in later.replace("Connection refused", "")


@pytest.mark.parametrize("word", sorted({verb.partition(" ")[0] for verb in VERBS}))
def test_help_of_verbs(operator: Operator, word: str) -> None:
    done = operator.cli(word, "--help")
    assert done.returncode == 0
    assert all(f"bs-cli {verb}" in done.stdout for verb in VERBS if verb.partition(" ")[0] == word)
