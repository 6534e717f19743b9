"""The daemon's own key and self-signed certificate; peers pin its SHA-256 fingerprint, so there is no authority to run.

The certificate is made by this module as a program, in a child process: what `cryptography` loads
would stay in the daemon's memory for good.
"""

import asyncio
import hashlib
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

_DEADLINE = 30.0


class CertificateError(Exception):
    """The certificate cannot be made or read."""


async def ensure_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Return the paths of certificate and key in `directory`, made first when they are missing.

    Raises:
        CertificateError: they cannot be made.
    """
    certificate, key = paths(directory)
    _complete(directory)
    if not (certificate.exists() and key.exists()):
        await renew_certificate(directory, name)
    return certificate, key


async def renew_certificate(directory: Path, name: str) -> None:
    """Put a new key and certificate in the place of those that are there.

    Raises:
        CertificateError: they cannot be made; the old pair stays.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",  # nothing from the folder that the caller stands in
        "-m",
        __name__,
        str(directory),
        name,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, stderr = await asyncio.wait_for(child.communicate(), _DEADLINE)
    except TimeoutError:
        child.kill()
        await child.wait()
        raise CertificateError(f"no certificate in {directory} after {_DEADLINE:.0f} s") from None
    if child.returncode:
        raise CertificateError(
            f"cannot make a certificate in {directory}: {stderr.decode(errors='replace').strip()[-300:]}"
        )


def paths(directory: Path) -> tuple[Path, Path]:
    """Return where certificate and key of a directory are."""
    return directory / "certificate.pem", directory / "key.pem"


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


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the TLS settings of a server: TLS 1.2 at least.

    Raises:
        CertificateError: certificate and key cannot be read or do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate, key)
    return context


class ServedCertificate:
    """The certificate that a server shows; it can be renewed while the server runs."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.context = server_context(certificate, key)
        self.renewed: Callable[[], None] = lambda: None
        self._shown = fingerprint(certificate)

    def reload(self, certificate: Path, key: Path) -> None:
        """Show what the files hold now. No request is dropped; a kept connection ends after one more, to be made anew.

        Raises:
            CertificateError: certificate and key cannot be read or do not fit; the old ones stay.
        """
        found = fingerprint(certificate)
        server_context(certificate, key)  # tried first: half a pair would serve nobody
        _load(self.context, certificate, key)
        if found != self._shown:
            self._shown = found
            self.renewed()


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"{certificate}, {key}: {error}") from error


def _make(directory: Path, name: str) -> None:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415  only the child needs these

    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    encoded_key = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # First both beside the old pair, then the key into its place, then the certificate: see `_complete`.
    for file, content in (("key.pem", encoded_key), ("certificate.pem", certificate.public_bytes(encoding))):
        beside = _beside(directory / file)
        beside.unlink(missing_ok=True)
        beside.touch(mode=0o600)
        with beside.open("r+b") as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
    for path in reversed(paths(directory)):
        _beside(path).rename(path)


def _complete(directory: Path) -> None:
    """Bring a renewal to its end that was cut short between the key and the certificate: the pair would not fit."""
    certificate, key = paths(directory)
    if _beside(certificate).exists() and not _beside(key).exists():
        _beside(certificate).rename(certificate)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


if __name__ == "__main__":
    _make(Path(sys.argv[1]), sys.argv[2])
