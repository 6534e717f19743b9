"""Accounts, sessions and access keys over HTTP: passwords changed, sessions listed and revoked, keys shown once."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from cryptography.fernet import Fernet
from sqlalchemy import select, update

from bs_agent.management.access.access_keys import MOST_KEYS, AccessKeys
from bs_agent.management.access.sessions import ADMIN_UUID
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.access_keys import AccessKeyStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.schema import any_secret
from bs_agent.management.store.tables import access_key, job, session
from tests.management.server import PASSWORD, Server, serving_node

pytestmark = pytest.mark.asyncio

UNKNOWN = "0" * 32


@pytest_asyncio.fixture
async def node(database: Database) -> AsyncIterator[Server]:
    """A management node over a database of each kind."""
    async with serving_node(database) as running:
        yield running


async def _log_in(server: Server, password: str = PASSWORD) -> tuple[int, Any]:
    body = {"logInByAccount": {"accountName": "admin", "password": password}}
    return await server.call("PUT", "/accounts/login", json=body)


async def _session(server: Server, password: str = PASSWORD) -> str:
    status, body = await _log_in(server, password)
    assert status == 200, body
    return str(body["inventory"]["uuid"])


async def _valid(server: Server, secret: str) -> bool:
    async with server.http.get(f"{server.url}/accounts/sessions/{secret}/valid") as response:
        assert response.status == 200
        body = await response.json()
    return bool(body["validSession"])


async def _open(server: Server, **parameters: Any) -> list[dict[str, Any]]:
    status, body = await server.call("GET", "/accounts/open-sessions", params=parameters)
    assert status == 200, body
    found: list[dict[str, Any]] = body["inventories"]
    return found


async def _key(server: Server, **parameters: Any) -> tuple[int, Any]:
    return await server.call("POST", "/accesskeys", json={"params": parameters})


async def test_the_account_is_found(server: Server) -> None:
    _, body = await server.call("GET", "/accounts", params={"q": "name=ADMIN"}, headers={"X-JSON-Schema": "true"})
    (account,) = body["inventories"]
    assert (account["uuid"], account["name"], account["type"]) == (ADMIN_UUID, "admin", "SystemAdmin")
    assert set(account) == {"uuid", "name", "type", "createDate", "lastOpDate"}
    assert body["schema"] == {"inventories[0]": "org.zstack.header.identity.AccountInventory"}
    for hidden in ("passwordHash=x", "passwordHash is null"):
        assert (await server.call("GET", "/accounts", params={"q": hidden}))[0] == 503


async def test_a_new_password_ends_the_other_sessions(node: Server) -> None:
    other = await _session(node)
    hashed = hashlib.sha512(b"another password").hexdigest()
    for password in ("another password", hashed):
        body = {"updateAccount": {"password": password}}
        status, changed = await node.call("PUT", f"/accounts/{ADMIN_UUID}", json=body)
        assert (status, changed["inventory"]["name"]) == (200, "admin")
        assert (await _valid(node, node.session), await _valid(node, other)) == (True, False)
        assert (await _log_in(node))[1]["error"]["code"] == "ID.1000"
        other = await _session(node, "another password")


async def test_a_password_that_is_too_short_or_for_nobody(server: Server) -> None:
    status, body = await server.call("PUT", f"/accounts/{ADMIN_UUID}", json={"updateAccount": {"password": "short"}})
    assert (status, body["error"]["code"]) == (503, "SYS.1007")
    assert "short" not in body["error"]["details"].replace("shorter", "")
    good = {"updateAccount": {"password": "long enough"}}
    status, body = await server.call("PUT", f"/accounts/{UNKNOWN}", json=good)
    assert (status, body["error"]["code"]) == (503, "SYS.1003")
    assert body["error"]["details"] == f"invalid field[uuid], resource[uuid:{UNKNOWN}, type:AccountVO] not found"
    assert await _valid(server, await _session(server))


async def test_whether_a_session_is_valid_is_told_to_anybody(node: Server) -> None:
    async with node.database.writing() as connection:
        await connection.execute(update(session).values(expiredDate=session.c.expiredDate - 100))
    async with node.database.reading() as connection:
        before = (await connection.execute(select(session.c.expiredDate))).scalar_one()
    assert await _valid(node, node.session)
    assert not await _valid(node, UNKNOWN)
    async with node.database.reading() as connection:
        assert (await connection.execute(select(session.c.expiredDate))).scalar_one() == before
    async with node.database.writing() as connection:
        await connection.execute(update(session).values(expiredDate=session.c.expiredDate - 7200))
    assert not await _valid(node, node.session)


async def test_sessions_are_listed_without_their_secrets_and_revoked(node: Server) -> None:
    (own,) = await _open(node)
    other = await _session(node)
    (shown,) = await _open(node, q=f"uuid!={own['uuid']}")
    assert set(shown) == {"uuid", "accountUuid", "expiredDate", "createDate"}
    assert other not in str(await _open(node))
    assert not await _valid(node, shown["uuid"])
    assert await node.call("DELETE", f"/accounts/open-sessions/{shown['uuid']}") == (200, {})
    assert not await _valid(node, other)
    assert await node.call("DELETE", f"/accounts/open-sessions/{shown['uuid']}") == (200, {})
    assert await _open(node) == [own]


async def test_expired_sessions_are_not_listed(node: Server) -> None:
    other = await _session(node)
    async with node.database.writing() as connection:
        gone = update(session).where(session.c.hash == hashlib.sha256(other.encode()).hexdigest())
        await connection.execute(gone.values(expiredDate=0))
    (own,) = await _open(node)
    assert (await node.call("GET", f"/accounts/open-sessions/{own['uuid']}"))[1]["inventories"] == [own]
    _, counted = await node.call("GET", "/accounts/open-sessions", params={"count": "true"})
    assert counted["total"] == 1


async def test_an_access_key_is_shown_once_and_kept_encrypted(node: Server) -> None:
    status, body = await _key(node, description="for the backup job")
    made = body["inventory"]
    secret = made.pop("AccessKeySecret")
    assert (status, made["accountUuid"], len(made["AccessKeyID"]), len(secret)) == (200, ADMIN_UUID, 20, 40)
    _, found = await node.call("GET", "/accesskeys", params={"q": f"AccessKeyID={made['AccessKeyID']}"})
    assert found["inventories"] == [made]
    async with node.database.reading() as connection:
        stored = str([(await connection.execute(select(table))).all() for table in (access_key, job)])
    assert secret not in stored
    assert made["AccessKeyID"] in stored
    assert await node.call("DELETE", f"/accesskeys/{made['uuid']}") == (200, {})
    assert await node.call("DELETE", f"/accesskeys/{made['uuid']}") == (200, {})
    assert (await node.call("GET", "/accesskeys"))[1]["inventories"] == []


async def test_the_secret_of_a_key_cannot_be_asked_for(server: Server) -> None:
    await _key(server)
    for parameters in ({"q": "AccessKeySecret~=a%"}, {"sort": "AccessKeySecret"}, {"groupBy": "AccessKeySecret"}):
        status, body = await server.call("GET", "/accesskeys", params=parameters)
        assert (status, body["error"]["code"]) == (503, "SYS.1007")
    _, body = await server.call("GET", "/accesskeys", params={"fields": "AccessKeySecret"})
    assert body["inventories"] == [{}]


async def test_an_access_key_may_be_given(node: Server) -> None:
    given = {"AccessKeyID": "ABCDEFGHIJ", "AccessKeySecret": "a secret of mine"}
    status, body = await _key(node, **given)
    assert (status, body["inventory"]["AccessKeyID"], body["inventory"]["AccessKeySecret"]) == (200, *given.values())
    status, body = await _key(node, **given)
    assert (status, body["error"]["code"]) == (503, "SYS.1007")
    assert body["error"]["details"] == "field[AccessKeyID]: another key has this id"
    for bad in ({"AccessKeyID": "a:b" * 4}, {"AccessKeySecret": "short"}):
        status, body = await _key(node, **bad)
        assert (status, body["error"]["code"]) == (503, "SYS.1007")
        assert "short" not in body["error"]["details"].replace("shorter", "")
    status, body = await _key(node, accountUuid=UNKNOWN)
    assert body["error"]["details"] == f"invalid field[accountUuid], resource[uuid:{UNKNOWN}, type:AccountVO] not found"


async def test_who_checks_a_signature_finds_the_secret_of_a_key(database: Database) -> None:
    keyring = Keyring(Fernet.generate_key(), "the key of the tests")
    async with serving_node(database):
        keys = AccessKeys(AccessKeyStore(database), keyring)
        _, secret = await keys.create(ADMIN_UUID, None, "ABCDEFGHIJ", None)
        found = await keys.reveal("ABCDEFGHIJ")
        assert found is not None
        assert (found.account_uuid, found.account_name, found.secret) == (ADMIN_UUID, "admin", secret)
        assert secret not in repr(found)
        assert await keys.reveal("abcdefghij") is None
        assert keyring.decrypt(await any_secret(database) or "") == secret


async def test_an_account_has_a_bounded_number_of_keys(server: Server) -> None:
    row = {"accountUuid": ADMIN_UUID, "keySecret": "x", "createDate": 0, "lastOpDate": 0}
    async with server.database.writing() as connection:
        rows = [row | {"uuid": f"{number:032}", "AccessKeyID": f"{number:020}"} for number in range(MOST_KEYS)]
        await connection.execute(access_key.insert(), rows)
    status, body = await _key(server)
    assert (status, body["error"]["code"]) == (503, "SYS.1006")
    await server.call("DELETE", f"/accesskeys/{0:032}")
    assert (await _key(server))[0] == 200
