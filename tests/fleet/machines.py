"""The machines of a simulated site: addresses, certificates and tokens, made once and the same in each run."""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bs_agent.contract.enrollment import encode
from bs_agent.daemon.certificate import fingerprint

MOST = 100_000
_A_NET = 250
_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: where it is, and what it is trusted by."""

    number: int
    host: str
    certificate: Path
    fingerprint: str
    token: str

    @property
    def uuid(self) -> str:
        """The uuid of its storage, which is that of its agent and of its host, too."""
        return uuid5(NAMESPACE_DNS, self.host).hex

    @property
    def name(self) -> str:
        """The name of its storage."""
        return f"store-{self.number:05}"

    def code(self, port: int) -> str:
        """Return its enrolment code."""
        return encode(port, self.token, self.fingerprint)


def address(number: int) -> str:
    """Return the loopback address of a machine."""
    return f"127.{1 + number // _A_NET**2}.{number // _A_NET % _A_NET}.{number % _A_NET + 1}"


def machines(folder: Path, count: int, progress: Callable[[int], None]) -> Iterator[Machine]:
    """Return so many machines; `progress` hears of each whose certificate had to be made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seed = folder / "seed"
    if not seed.exists():
        seed.touch(mode=0o600)
        seed.write_text(secrets.token_hex(32))
    known = seed.read_text()
    for number in range(count):
        host = address(number)
        certificate = folder / f"{host}.pem"
        if not certificate.exists():
            _make(certificate, host)
            progress(number + 1)
        token = hashlib.sha256(f"{known} {host}".encode()).hexdigest()
        yield Machine(number, host, certificate, fingerprint(certificate), token)


def _make(file: Path, host: str) -> None:
    """Make a key and a certificate, here: a process for each of ten thousand, as daemons do it, takes half an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=_DAYS))
    made = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    beside = file.with_suffix(".new")
    beside.touch(mode=0o600)
    beside.write_bytes(private + made.public_bytes(pem))
    beside.replace(file)  # a run that is cut short leaves no half
