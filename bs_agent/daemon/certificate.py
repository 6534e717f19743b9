"""A daemon's own key and self-signed certificate; peers pin its SHA-256 fingerprint, so there is no authority to run.

Both are in one file, which is put in place as a whole: whatever is cut short, no half of a pair is ever used. They are
made by this module as a program, in a child process: what `cryptography` loads would stay in the daemon's memory.
"""

import asyncio
import hashlib
import os
import ssl
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

_DEADLINE = 30.0
_END = b"-----END CERTIFICATE-----\n"


class CertificateError(Exception):
    """The certificate cannot be made or read."""


async def make_certificates(name: str, wanted: Mapping[Path, int]) -> None:
    """Make a new key and certificate for each of the files, valid for so many days, for a host of this name.

    A file that is there is replaced. One caller at a time.

    Raises:
        CertificateError: they cannot be made; a file that has got no new pair is as it was.
    """
    made = await _run_child(name, list(wanted.values()))
    for file, pair in zip(wanted, made, strict=True):
        try:
            _write(file, pair)
        except OSError as error:
            raise CertificateError(f"{file} cannot be written: {error.strerror}") from error


def put_in_place(beside: Path, file: Path) -> None:
    """Rename a file over another one of its directory, so that a power cut leaves the one or the other.

    Raises:
        OSError: it cannot be done; both stay.
    """
    beside.replace(file)
    _sync(file.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fingerprint(certificate: Path) -> str:
    """Return the SHA-256 of the certificate as 64 hexadecimal digits; of a chain, that of its first.

    Raises:
        CertificateError: the file is no certificate.
    """
    try:
        first, end, _ = certificate.read_text().partition("-----END CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[first.find("-----BEGIN CERTIFICATE") :] + end)).hexdigest()
    except (OSError, ValueError) as error:
        raise CertificateError(f"{certificate}: {error}") from error


def server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """Return the TLS settings of a server: TLS 1.2 at least. Without `key`, the key is in the certificate's file.

    Raises:
        CertificateError: certificate and key cannot be read or do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Nobody resumes a session by a ticket, and OpenSSL's client holds 16 KiB more for each connection that brought one.
    context.num_tickets = 0
    _load(context, certificate, key)
    return context


class ServedCertificate:
    """The certificate that a server shows; it can be renewed while the server runs."""

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        self.context = server_context(certificate, key)
        self.renewed: Callable[[], None] = lambda: None
        self.is_outdated: Callable[[object], bool] = lambda _: False
        """Whether a connection, by its protocol, was shown another certificate than new ones are."""
        self.fingerprint = fingerprint(certificate)

    def reload(self, certificate: Path, key: Path | None = None) -> None:
        """Show what the files hold now. No request is dropped; a kept connection ends after one more, to be made anew.

        Raises:
            CertificateError: certificate and key cannot be read or do not fit; the old ones stay.
        """
        found = fingerprint(certificate)
        server_context(certificate, key)  # tried first: half a pair would serve nobody
        _load(self.context, certificate, key)
        if found != self.fingerprint:
            self.fingerprint = found
            self.renewed()


def _load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(certificate, key, password=str)  # an encrypted key is refused: else OpenSSL asks for it
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"{', '.join(map(str, filter(None, (certificate, key))))}: {error}") from error


def _write(file: Path, pair: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=0o600, exist_ok=False)
    with beside.open("r+b") as new:
        new.write(pair)
        new.flush()
        os.fsync(new.fileno())
    server_context(beside)  # what does not fit together never gets its place
    put_in_place(beside, file)
    _sync(file.parent.parent)  # the directory may have been made just now


async def _run_child(name: str, days: Iterable[int]) -> list[bytes]:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",  # nothing from the folder that the caller stands in
        "-m",
        __name__,
        name,
        *map(str, days),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        made, complaint = await asyncio.wait_for(child.communicate(), _DEADLINE)
    except TimeoutError:
        child.kill()
        await child.wait()
        raise CertificateError(f"no certificate was made within {_DEADLINE:.0f} s") from None
    if child.returncode:
        said = complaint.decode(errors="replace").strip()[-300:]
        raise CertificateError(f"cannot make a certificate (status {child.returncode}): {said}")
    return [pair + _END for pair in made.split(_END)[:-1]]


def _make(name: str, days: int) -> bytes:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415  only the child needs these

    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(encoding)


if __name__ == "__main__":
    for valid in sys.argv[2:]:
        sys.stdout.buffer.write(_make(sys.argv[1], int(valid)))
