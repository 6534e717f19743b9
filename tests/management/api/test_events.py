"""Who logged in, who was refused, whose session ended: told without what is secret."""

import json

import pytest

from bs_agent.management.access.sessions import ADMIN_UUID
from tests.management.server import PASSWORD, Server, storage_row

pytestmark = pytest.mark.asyncio


async def events(server: Server, *conditions: str) -> list[dict[str, str]]:
    status, found = await server.call("GET", "/events", params={"q": list(conditions), "sort": "createDate"})
    assert status == 200
    return list(found["inventories"])


async def log_in(server: Server, name: str, password: str) -> tuple[int, dict[str, dict[str, str]]]:
    body = {"logInByAccount": {"accountName": name, "password": password}}
    async with server.http.put(f"{server.url}/accounts/login", json=body) as response:
        return response.status, await response.json()


async def test_log_ins_good_and_refused_and_the_ends_of_sessions(server: Server) -> None:
    _, opened = await log_in(server, "admin", PASSWORD)
    secret = opened["inventory"]["uuid"]
    await log_in(server, "admin", "a wrong password")
    await log_in(server, "hunter2 by mistake", "x")
    await server.call("DELETE", f"/accounts/sessions/{secret}")
    *_, good = await events(server, "type=LogIn")
    assert (good["accountUuid"], good["accountName"], good["address"]) == (ADMIN_UUID, "admin", "127.0.0.1")
    wrong, unknown = await events(server, "type=LogInRefused")
    assert (wrong["accountName"], wrong["address"], wrong["details"]) == ("admin", "127.0.0.1", "the password is wrong")
    assert "accountName" not in unknown, "who has no account may have written a password there"
    (ended,) = await events(server, "type=SessionEnded")
    assert (ended["accountName"], ended["details"]) == ("admin", "logged out")
    assert ended["resourceUuid"] == good["resourceUuid"]
    everything = json.dumps(await events(server))
    for hidden in (secret, server.session, PASSWORD, "a wrong password", "hunter2"):
        assert hidden not in everything


async def test_access_keys_and_states_are_told_with_whose_doing_they_are(server: Server) -> None:
    row = storage_row()
    await server.store(row)
    made = (await server.call("POST", "/accesskeys", json={"params": {}}))[1]["inventory"]
    await server.call("DELETE", f"/accesskeys/{made['uuid']}")
    for _ in range(2):
        body = {"changeBackupStorageState": {"stateEvent": "disable"}}
        await server.call("PUT", f"/backup-storage/{row['uuid']}/actions", json=body)
    created, deleted = await events(server, "type~=AccessKey%")
    assert [one["type"] for one in (created, deleted)] == ["AccessKeyCreated", "AccessKeyDeleted"]
    assert (created["resourceName"], created["accountName"]) == (made["AccessKeyID"], "admin")
    assert made["AccessKeySecret"] not in json.dumps(await events(server))
    (state,) = await events(server, f"resourceUuid={row['uuid']}")
    assert (state["type"], state["oldValue"], state["newValue"]) == ("StateChanged", "Enabled", "Disabled")
    assert (state["accountName"], state["resourceName"]) == ("admin", row["name"])
    status, refused = await server.call("GET", "/events", oauth="0" * 32)
    assert (status, refused["error"]["code"]) == (503, "ID.1001")


async def test_a_new_password_ends_the_other_sessions(server: Server) -> None:
    await log_in(server, "admin", PASSWORD)
    body = {"updateAccount": {"password": "another good password"}}
    assert (await server.call("PUT", f"/accounts/{ADMIN_UUID}", json=body))[0] == 200
    (changed,) = await events(server, "type=PasswordChanged")
    assert (changed["resourceName"], changed["accountName"]) == ("admin", "admin")
    (ended,) = await events(server, "type=SessionEnded")
    assert ended["details"] == "the password was changed"
