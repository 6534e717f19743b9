"""Why no answer came, in words, and what to do about it: from what aiohttp raises to the error of the API.

The cause is looked at and not guessed: a port that closes the line on plain http is asked whether it speaks TLS.
"""

import asyncio
import os
import ssl
import urllib.request
from pathlib import Path

import aiohttp
from yarl import URL

from bs_agent.client.wire.failures import CallFailed, NoAnswer, unreachable

LOOK_DEADLINE = 3.0
SELF_SIGNED, OWN_AUTHORITY, NO_ISSUER, NO_CHAIN = 18, 19, 20, 21  # of X509_verify_cert(3)
EXPIRED, NOT_YET_VALID = 10, 9
OTHER_HOST, OTHER_ADDRESS = 62, 64
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")

_PLACE = "`--url`, or `--host` and `--port`, name another place"


async def explained(
    url: str, ca_file: Path | None, error: Exception, limits: aiohttp.ClientTimeout
) -> CallFailed | NoAnswer:
    """Return the error that tells why a request to `url` got no answer; `limits` are those it had.

    A `NoAnswer` is one that may be gone the next time.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _of_certificate(url, ca_file, error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return _of_tls(url, error.os_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        details = f"the name {URL(url).host} is not known: {error.os_error.strerror}"
        cure = "Check the name in the URL and the name server of this host." + _of_proxy(url)
        return NoAnswer(unreachable(url, details, cure), arrived=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        return NoAnswer(unreachable(url, _words(error.os_error), _of_connection(url, error.os_error)), arrived=False)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        cure = "Check host, port and the network to it: a firewall in between may drop what is sent." + _of_proxy(url)
        return NoAnswer(unreachable(url, f"no connection within {limits.sock_connect:g} s", cure), arrived=False)
    if isinstance(error, TimeoutError):
        cure = (
            "Look at the load and the log of the management node; if another program has this port, name the right one."
        )
        return NoAnswer(unreachable(url, f"no answer within {limits.total:g} s", cure), arrived=True)
    if isinstance(error, aiohttp.ClientResponseError):
        cure = f"Another program than the management node listens there: {_PLACE}."
        return unreachable(url, "what answers does not speak HTTP", cure)
    if url.startswith("http:") and await _speaks_tls(url):
        cure = "Write https:// in `--url`, with `--ca-file FILE` where its certificate is its own."
        return unreachable(url, "the port speaks TLS, and plain http was spoken to it", cure)
    cure = "Try again: the management node may be restarting. If it stays, look at its log, and who has this port."
    return NoAnswer(unreachable(url, f"the connection broke: {error}", cure), arrived=True)


def no_certificates(url: str, ca_file: Path | None, error: OSError) -> CallFailed:
    """Return the error of a file of certificates that cannot be used."""
    why = "holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
    cure = "Let `--ca-file` name a copy of the management node's certificate ([server] tls_certificate there), as PEM."
    return unreachable(url, f"ca file {ca_file}: {why}", cure)


def _of_certificate(url: str, ca_file: Path | None, error: Exception) -> CallFailed:
    code = getattr(error, "verify_code", 0)
    why = getattr(error, "verify_message", "") or str(error)
    if code in {SELF_SIGNED, OWN_AUTHORITY, NO_ISSUER, NO_CHAIN} and ca_file:
        cure = (
            f"It is not by {ca_file}: copy the certificate that the management node shows now ([server] "
            "tls_certificate there). If it was not renewed, somebody may sit in between."
        )
    elif code in {SELF_SIGNED, OWN_AUTHORITY, NO_ISSUER, NO_CHAIN}:
        cure = (
            "Copy the management node's certificate ([server] tls_certificate there) and name it: `--ca-file FILE`, "
            "or BS_CLI_CA_FILE."
        )
    elif code == EXPIRED:
        cure = (
            "Renew the certificate on the management node, then `systemctl reload bs-management`; if it is valid, "
            "the clock of this host is wrong."
        )
    elif code == NOT_YET_VALID:
        cure = "Set the clock of this host, or that of the one that made the certificate."
    elif code in {OTHER_HOST, OTHER_ADDRESS}:
        cure = "Write the URL with a name that the certificate has, or make one for this name."
    else:
        cure = "See who answers there; `--ca-file FILE` names the certificates to trust."
    return unreachable(url, f"its certificate is not trusted: {why}", cure)


def _of_tls(url: str, error: OSError) -> CallFailed:
    reason = str(getattr(error, "reason", "") or error)
    if reason in NO_TLS:
        cure = (
            "Write http:// if it is the management node without TLS (to another host with `--allow-plain-http`), else "
            "the port that speaks TLS."
        )
        return unreachable(url, "the port does not speak TLS, and https was spoken to it", cure)
    cure = "See who listens there, and which versions of TLS it speaks: 1.2 or later is needed."
    return unreachable(url, f"there is no TLS connection: {reason.replace('_', ' ').lower()}", cure)


def _of_connection(url: str, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return (
            "Start the management node (`systemctl start bs-management`) if it is down, and see on which address and "
            f"port it listens ([server] listen); {_PLACE}."
        )
    return "Check the address in the URL, the network to it, and what a firewall lets through." + _of_proxy(url)


def _of_proxy(url: str) -> str:
    """Say that a proxy which the environment names is not used; whoever has one may need it to get there."""
    proxy = urllib.request.getproxies_environment().get(URL(url).scheme)
    return " The proxy that the environment names is not used: a direct way is needed." if proxy else ""


def _words(error: OSError) -> str:
    number = error.errno
    return os.strerror(number) if number and number > 0 else error.strerror or str(error)


async def _speaks_tls(url: str) -> bool:
    """Tell whether the port takes a TLS handshake; nothing is sent but that."""
    place = URL(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(LOOK_DEADLINE):
            _, writer = await asyncio.open_connection(place.host, place.port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True
