"""Connections to addresses that a caller chose: which ones are refused, and that nothing arrives there."""

import socket

import aiohttp
import pytest

from bs_agent.management.jobs.outward import outward_connector, refusal
from tests.management.jobs.receiver import receiving

LOCAL = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "fe80::1%eth0"]
LOCAL += ["::ffff:169.254.1.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"]
ANY = "0.0.0.0"  # noqa: S104  connecting to it is what is tested
NEVER = [ANY, "::", "::ffff:0.0.0.0", "0.1.2.3", "224.0.0.1", "ff02::1", "255.255.255.255"]
OUTSIDE = ["10.0.0.1", "172.16.0.9", "192.168.1.1", "203.0.113.9", "2001:db8::1", "fd00::2", "::ffff:10.0.0.1"]


@pytest.mark.parametrize("address", LOCAL)
def test_local_addresses_want_to_be_allowed(address: str) -> None:
    assert refusal(address, allow_local=False)
    assert refusal(address, allow_local=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_addresses_of_no_single_host_are_never_used(address: str) -> None:
    assert refusal(address, allow_local=True)


@pytest.mark.parametrize("address", OUTSIDE)
def test_other_addresses_are_used(address: str) -> None:
    assert refusal(address, allow_local=False) is None


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", ANY, "0"])
async def test_no_spelling_leads_to_this_host(host: str) -> None:
    async with receiving() as receiver:
        connector = outward_connector(1, allow_local=False)
        async with aiohttp.ClientSession(connector=connector) as http:
            with pytest.raises((aiohttp.ClientConnectorError, aiohttp.InvalidURL)) as refused:
                await http.post(f"http://{host}:{receiver.port}/", data=b"{}")
    if isinstance(refused.value, aiohttp.ClientConnectorError):
        assert "see [hooks] allow_local" in str(refused.value.os_error)
    assert receiver.told == []


@pytest.mark.asyncio
async def test_a_name_that_changes_what_it_points_at_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up is what an attacker controls: it is played here, and its second answer is this host."""
    answers = ["203.0.113.9", "127.0.0.1"]

    def look_up(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), receiver.port))]

    async with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        timeout = aiohttp.ClientTimeout(total=0.5)
        async with aiohttp.ClientSession(connector=outward_connector(1, allow_local=False), timeout=timeout) as http:
            with pytest.raises((TimeoutError, aiohttp.ClientConnectorError)):
                await http.post(f"http://rebinding.test:{receiver.port}/", data=b"{}")
            with pytest.raises(aiohttp.ClientConnectorError) as refused:
                await http.post(f"http://rebinding.test:{receiver.port}/", data=b"{}")
    assert "127.0.0.1 is a loopback address" in str(refused.value.os_error)
    assert receiver.told == []
    assert answers == []
