"""The daemon's own key and self-signed certificate; peers pin its SHA-256 fingerprint, so there is no authority to run.

The certificate is made by this module as a program, in a child process: what `cryptography` loads
would stay in the daemon's memory for good.
"""

import asyncio
import hashlib
import ssl
import sys
from pathlib import Path

_DEADLINE = 30.0


class CertificateError(Exception):
    """The certificate cannot be made or read."""


async def ensure_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Return the paths of certificate and key in `directory`, made first when they are missing.

    Raises:
        CertificateError: they cannot be made.
    """
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    if not (certificate.exists() and key.exists()):
        child = await asyncio.create_subprocess_exec(
            sys.executable,
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
            raise CertificateError(f"no certificate in {directory} after {_DEADLINE:.0f} s") from None
        if child.returncode:
            raise CertificateError(
                f"cannot make a certificate in {directory}: {stderr.decode(errors='replace').strip()[-300:]}"
            )
    return certificate, key


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
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"{certificate}, {key}: {error}") from error
    return context


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
    encoded_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # The key goes first and the certificate last: whoever sees both sees a pair that fits.
    for file, content in (
        ("key.pem", encoded_key),
        ("certificate.pem", certificate.public_bytes(serialization.Encoding.PEM)),
    ):
        beside = directory / f".{file}.new"
        beside.touch(mode=0o600)
        beside.write_bytes(content)
        beside.rename(directory / file)


if __name__ == "__main__":
    _make(Path(sys.argv[1]), sys.argv[2])
