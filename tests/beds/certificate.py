"""Certificates for the servers that tests play, and for management nodes: with the key in a file of its own."""

from pathlib import Path

from bs_agent.daemon.certificate import make_certificates


async def ensure_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the paths of certificate and key in a folder, made first when they are missing."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not certificate.exists():
        await renew_certificate(folder, name)
    return certificate, key


async def renew_certificate(folder: Path, name: str) -> None:
    """Put a new certificate and key in the place of those that are there."""
    both = folder / "both.pem"
    await make_certificates(name, {both: 3650})
    key, mark, rest = both.read_text().partition("-----END PRIVATE KEY-----\n")
    both.unlink()
    (folder / "key.pem").touch(mode=0o600)
    (folder / "key.pem").write_text(key + mark)
    (folder / "certificate.pem").write_text(rest)
