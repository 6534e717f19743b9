"""Words -> parameters: what the command line adds to the query language, and that secrets stay out of sight."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.client.cli.arguments import parse_condition_word, parse_words, shows_secret
from bs_agent.client.cli.catalog import names
from bs_agent.client.cli.faults import UsageFault, nearest
from bs_agent.contract.calls_account import LOG_IN, UPDATE_ACCOUNT
from bs_agent.contract.calls_ceph import ADD_CEPH
from bs_agent.contract.calls_storage import (
    ADD_IMAGE_STORE,
    DELETE_BACKUP_STORAGE,
    QUERY_BACKUP_STORAGE,
    RECONNECT_BACKUP_STORAGE,
)
from bs_agent.contract.declaration import Api
from bs_agent.contract.inventory import BackupStorageInventory
from bs_agent.contract.query import Condition, Operator, parse_condition

fields = st.sampled_from(names(BackupStorageInventory))
values = st.text(st.characters(codec="utf-8"), max_size=30)


def asked(name: str) -> str:
    return f"asked:{name}"


def unasked(name: str) -> str:
    raise AssertionError(f"{name} was asked")


@pytest.mark.parametrize(
    ("word", "condition"),
    [
        ("description=null", "description is null"),
        ("description!=null", "description not null"),
        ("description is null", "description is null"),
        ("description is not null", "description not null"),
        ("description?=null", "description?=null"),
        ("name~=store", "name~=%store%"),
        ("name!~=store", "name!~=%store%"),
        ("name~=st_re", "name~=st_re"),
        ("name~=store%", "name~=store%"),
        ("name~=", "name~=%%"),
        ("availableCapacity>=5", "availableCapacity>=5"),
        ("zone.name=a=b", "zone.name=a=b"),
        ("__systemTag__=a::b", "__systemTag__=a::b"),
    ],
)
def test_conditions_as_the_api_wants_them(word: str, condition: str) -> None:
    assert parse_condition_word(BackupStorageInventory, word) == condition


@given(fields, st.sampled_from([one for one in Operator if "null" not in one]), values)
def test_what_is_sent_means_what_was_written(field: str, sign: Operator, value: str) -> None:
    written = parse_condition(f"{field}{sign}{value}")
    with contextlib.suppress(UsageFault):  # a field has not every value
        check_sent(written, value)


def check_sent(written: Condition, value: str) -> None:
    field, sign = written.field, written.operator
    sent = parse_condition(parse_condition_word(BackupStorageInventory, f"{field}{sign}{value}"))
    if written.value == "null" and written.operator in {Operator.EQUAL, Operator.NOT_EQUAL}:
        assert sent.operator in {Operator.IS_NULL, Operator.NOT_NULL}
    elif written.operator in {Operator.LIKE, Operator.NOT_LIKE} and "%" not in value and "_" not in value:
        assert sent == Condition(written.field, written.operator, f"%{written.value}%")
    else:
        assert sent == written


@given(st.lists(values, max_size=4))
def test_whatever_is_typed_is_a_query_or_a_fault(words: list[str]) -> None:
    with contextlib.suppress(UsageFault):
        assert isinstance(parse_words(QUERY_BACKUP_STORAGE, words, unasked)["conditions"], list)


def test_lists_may_be_repeated() -> None:
    words = ["uuid=x", "systemTags=a,b", "systemTags=c", 'userTags=["d,e", "f"]']
    assert parse_words(RECONNECT_BACKUP_STORAGE, words, unasked) == {
        "uuid": "x",
        "systemTags": ["a", "b", "c"],
        "userTags": ["d,e", "f"],
    }


def test_a_needed_secret_is_asked_and_another_on_request(tmp_path: Path) -> None:
    assert parse_words(LOG_IN, ["accountName=admin"], asked)["password"] == "asked:password"
    assert "password" not in parse_words(ADD_IMAGE_STORE, ["name=x"], unasked)
    assert parse_words(ADD_IMAGE_STORE, ["password=-"], asked)["password"] == "asked:password"
    (tmp_path / "secret").write_text("first line \r\nsecond\n")
    assert parse_words(LOG_IN, [f"password=@{tmp_path}/secret"], unasked)["password"] == "first line "
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageFault, match="is not UTF-8"):
        parse_words(LOG_IN, [f"password=@{tmp_path}/secret"], unasked)
    with pytest.raises(UsageFault, match="is larger than"):
        parse_words(LOG_IN, ["password=@/dev/zero"], unasked)


@pytest.mark.parametrize(
    ("api", "word"),
    [
        (LOG_IN, "password=hunter2"),
        (ADD_CEPH, "monUrls=root:hunter2@10.0.0.1"),
        (ADD_CEPH, 'monUrls=["10.0.0.1", "root:hunter2@10.0.0.2:22/?monPort=3300"]'),
        (ADD_IMAGE_STORE, "systemTags=a::b,agentEnrollment::hunter2"),
    ],
)
def test_a_refused_secret_is_not_repeated(api: Api, word: str) -> None:
    with pytest.raises(UsageFault, match="others can see a command line") as caught:
        parse_words(api, [word], asked)
    assert "hunter2" not in caught.value.format_message()


def test_a_list_may_be_asked(tmp_path: Path) -> None:
    assert parse_words(ADD_CEPH, ["monUrls=-"], lambda _: "root:a@h1, root:b@h2")["monUrls"] == [
        "root:a@h1",
        "root:b@h2",
    ]
    assert parse_words(ADD_CEPH, ["monUrls=[::1]:22,h1"], unasked)["monUrls"] == ["[::1]:22", "h1"]


def test_a_new_secret_is_asked_as_such() -> None:
    assert parse_words(UPDATE_ACCOUNT, ["uuid=x"], asked)["password"] == "asked:new password"


@pytest.mark.parametrize(
    ("word", "shows"),
    [
        ("password=hunter2", True),
        ("password=-", False),
        ("password=@/run/secret", False),
        ("password=", False),
        ("name=password", False),
        ("sessionUuid=5e55", True),
        ("systemTags=agentEnrollment::code", True),
        ("systemTags=@/run/tags", False),
        ("monUrls=root:hunter2@10.0.0.1/?monPort=6789", True),
        ("url=/data", False),
    ],
)
def test_words_that_show_a_secret(word: str, shows: bool) -> None:
    assert shows_secret(ADD_IMAGE_STORE, word) is shows


def test_near_names_or_all_of_them() -> None:
    assert nearest("deletemod", ["uuid", "deleteMode"]) == "did you mean deleteMode?"
    assert nearest("x", ["uuid", "deleteMode"]) == "there are uuid, deleteMode"
    with pytest.raises(UsageFault, match="there are uuid, deleteMode, dryRun, systemTags, userTags"):
        parse_words(DELETE_BACKUP_STORAGE, ["q=1"], unasked)
