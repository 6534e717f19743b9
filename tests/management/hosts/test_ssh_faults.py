"""SSH servers that no OpenSSH would be: silent ones, ones that break off, ones that only converse."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import asyncssh
import pytest

from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.config import SshSettings
from bs_agent.management.hosts.ssh import Login, session

pytestmark = pytest.mark.asyncio

PATIENT = SshSettings()
QUICK = SshSettings(connect_timeout=0.5, command_timeout=0.5)
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def reason(login: Login, settings: SshSettings = PATIENT) -> ReasonCode:
    with pytest.raises(StorageProblem) as problem:
        async with session(login, settings):
            pass
    assert login.password not in problem.value.details
    return problem.value.reason.code


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def stalls_after_its_name(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    while await reader.read(4096):
        pass
    writer.close()


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    writer.close()


async def speaks_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("behaviour", "settings", "codes"),
    [
        (silent, QUICK, {ReasonCode.NO_ROUTE, ReasonCode.SSH_FAILED}),
        (stalls_after_its_name, QUICK, {ReasonCode.NO_ROUTE, ReasonCode.SSH_FAILED}),
        (breaks_off, PATIENT, {ReasonCode.SSH_FAILED}),
        (speaks_http, PATIENT, {ReasonCode.SSH_FAILED}),
    ],
)
async def test_what_is_no_ssh_server(behaviour: Behaviour, settings: SshSettings, codes: set[ReasonCode]) -> None:
    server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(20):
            assert await reason(Login("127.0.0.1", port, "root", "secret"), settings) in codes


class Conversing(asyncssh.SSHServer):
    """Takes the password in a dialogue only, as PAM does."""

    asked = 0

    def password_auth_supported(self) -> bool:
        return False

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        Conversing.asked += 1
        return list(responses) == ["secret"]


class SecondFactor(Conversing):
    """Wants a code besides."""

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        return "", "", "", [("Password: ", False), ("Code: ", True)]


async def _echo(process: asyncssh.SSHServerProcess[str]) -> None:
    process.stdout.write(str(process.command))
    process.exit(0)


@asynccontextmanager
async def listening(server: type[asyncssh.SSHServer]) -> AsyncIterator[tuple[int, asyncssh.SSHKey]]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    acceptor = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], server_factory=server, process_factory=_echo
    )
    async with acceptor:
        yield acceptor.get_port(), key


async def test_a_password_that_is_asked_for_in_a_dialogue() -> None:
    async with listening(Conversing) as (port, key):
        async with session(Login("127.0.0.1", port, "root", "secret"), PATIENT) as opened:
            assert opened.fingerprint == key.get_fingerprint()
        Conversing.asked = 0
        assert await reason(Login("127.0.0.1", port, "root", "wrong")) == ReasonCode.SSH_AUTH_FAILED
        assert Conversing.asked == 1, "a wrong password is tried once"


async def test_a_second_factor_is_beyond_us() -> None:
    async with listening(SecondFactor) as (port, _):
        assert await reason(Login("127.0.0.1", port, "root", "secret")) == ReasonCode.SSH_AUTH_FAILED


async def test_a_host_that_has_no_key_of_the_pinned_kind() -> None:
    async with listening(Conversing) as (port, _):
        rsa = asyncssh.generate_private_key("ssh-rsa").export_public_key("openssh").decode()
        pinned = Login("127.0.0.1", port, "root", "secret", host_key=rsa)
        assert await reason(pinned) == ReasonCode.SSH_HOST_KEY_CHANGED
