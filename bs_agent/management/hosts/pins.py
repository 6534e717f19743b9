"""The certificates that agents have to show; what is shown says until when it is good."""

import asyncio
from contextlib import suppress

import aiohttp


class Pin(aiohttp.Fingerprint):
    """A pinned certificate, and until when it is good (Unix seconds), once it was shown."""

    until: int | None = None

    def check(self, transport: asyncio.Transport) -> None:
        """See that the peer of a new connection shows this certificate.

        Raises:
            ServerFingerprintMismatch: it shows another one.
        """
        super().check(transport)
        from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415  heavy, and no start needs it

        shown: bytes = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        with suppress(ValueError):  # a peer may show what only OpenSSL takes for a certificate
            self.until = int(load_der_x509_certificate(shown).not_valid_after_utc.timestamp())


class KeptPin(Pin):
    """Equal when it pins the same: a later value finds the connections that an earlier one has left open."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeptPin) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)
