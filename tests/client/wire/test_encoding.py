"""Every parameter arrives: what a server decodes from a request is what was put into it."""

import json
from urllib.parse import parse_qsl, unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from bs_agent.client.wire.encoding import encode
from bs_agent.contract.calls_account import LOG_IN, LogInParameters
from bs_agent.contract.calls_storage import (
    ADD_IMAGE_STORE,
    DELETE_BACKUP_STORAGE,
    QUERY_BACKUP_STORAGE,
    RECONNECT_BACKUP_STORAGE,
    AddImageStoreParameters,
    DeleteParameters,
)
from bs_agent.contract.declaration import OneResource, QueryParameters
from bs_agent.contract.query import Operator, Query, parse_condition, parse_query

text = st.text(st.characters(codec="utf-8"), max_size=40)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}(\.[A-Za-z]{1,8})?", fullmatch=True)
signs = st.sampled_from([operator.value for operator in Operator if "null" not in operator])
conditions = st.tuples(names, signs, text).map("".join) | st.tuples(names, st.just(" is null")).map("".join)
queries = st.builds(
    QueryParameters,
    conditions=st.lists(conditions, max_size=5, unique_by=parse_condition),
    limit=st.none() | st.integers(0, 10_000),
    start=st.none() | st.integers(0, 10**9),
    count=st.none() | st.booleans(),
    replyWithCount=st.none() | st.booleans(),
    sortBy=st.none() | names,
    sortDirection=st.sampled_from([None, "asc", "desc"]),
    fields=st.none() | st.lists(names, min_size=1, max_size=4),
    groupBy=st.none() | names,
)


@given(queries)
def test_a_query_is_read_as_it_was_meant(asked: QueryParameters) -> None:
    request = encode(QUERY_BACKUP_STORAGE, asked)
    assert (request.method, request.body) == ("GET", None)
    parts = urlsplit(request.target)
    assert (parts.path, parts.fragment) == ("/zstack/v1/backup-storage", "")
    query = parse_query(parse_qsl(parts.query, keep_blank_values=True))
    assert query == Query(
        conditions=tuple(parse_condition(condition) for condition in asked.conditions),
        limit=1000 if asked.limit is None else asked.limit,
        start=asked.start or 0,
        count=bool(asked.count),
        reply_with_count=bool(asked.replyWithCount),
        sort=asked.sortBy or "",
        descending=bool(asked.sortBy) and asked.sortDirection == "desc",
        fields=tuple(asked.fields or ()),
        group_by=asked.groupBy or "",
    )


tags = st.lists(text.filter(bool), max_size=3)


@given(text.filter(lambda uuid: uuid not in {"", ".", ".."}), tags, tags)
def test_path_and_query_of_a_delete(uuid: str, system_tags: list[str], user_tags: list[str]) -> None:
    request = encode(DELETE_BACKUP_STORAGE, DeleteParameters(uuid=uuid, systemTags=system_tags, userTags=user_tags))
    path, _, query = request.target.partition("?")
    assert path.count("/") == 4
    assert unquote(path.rpartition("/")[2]) == uuid
    pairs = parse_qsl(query, keep_blank_values=True)
    assert [value for name, value in pairs if name == "systemTags"] == system_tags
    assert [value for name, value in pairs if name == "userTags"] == user_tags
    assert ("deleteMode", "Permissive") in pairs
    assert request.target.isascii()


def test_bodies_are_those_of_the_api_page() -> None:
    request = encode(RECONNECT_BACKUP_STORAGE, OneResource(uuid="37ea", userTags=["a"]))
    assert (request.method, request.target) == ("PUT", "/zstack/v1/backup-storage/37ea/actions")
    assert json.loads(request.body or b"") == {"reconnectBackupStorage": {}, "userTags": ["a"]}

    secret = SecretStr("pass=word")
    parameters = AddImageStoreParameters(name="s", hostname="10.0.0.1", url="/data", username="root", password=secret)
    request = encode(ADD_IMAGE_STORE, parameters)
    assert (request.method, request.target) == ("POST", "/zstack/v1/backup-storage/image-store")
    params = json.loads(request.body or b"")["params"]
    assert params["password"] == "pass=word"
    assert params["sshPort"] == 22
    assert "servicePort" not in params

    request = encode(LOG_IN, LogInParameters(accountName="admin", password=secret))
    assert json.loads(request.body or b"") == {"logInByAccount": {"accountName": "admin", "password": "pass=word"}}
