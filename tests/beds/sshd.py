"""A real OpenSSH server on loopback with users of its own: they exist only in its private view of /etc."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

TOOLS = ("sshd", "ssh-keygen", "openssl", "unshare", "setpriv")
MISSING = [tool for tool in TOOLS if not shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")]
WHY_NOT = "root is needed" if os.geteuid() else f"not installed: {', '.join(MISSING)}" if MISSING else ""

PASSWORD = "a right good password"
SUDOER, PLAIN = "operator", "plain"

_DEADLINE = 20.0
_CONF = """\
{addresses}
Port {port}
HostKey {folder}/host_key
PidFile none
UsePAM no
PermitRootLogin yes
PasswordAuthentication {password}
KbdInteractiveAuthentication no
PubkeyAuthentication no
StrictModes no
"""
# What the server sees of /etc is bound over the real one in its own mount namespace, so nothing else sees it.
_START = """\
set -e
mount -t tmpfs tmpfs /run
mkdir /run/sshd
for name in passwd shadow group sudoers; do
    [ ! -e /etc/$name ] || mount --bind "$1/$name" /etc/$name
done
exec setpriv --pdeathsig KILL "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f "$1/sshd_config"
"""


class Sshd:
    """A server whose users are root, `SUDOER` (sudo without a password) and `PLAIN`, all with `PASSWORD`."""

    def __init__(
        self, folder: Path, *, password_log_in: bool = True, addresses: Sequence[str] = ("127.0.0.1",)
    ) -> None:
        self.folder = folder
        self._addresses = "\n".join(f"ListenAddress {address}" for address in addresses)
        self.port = _free_port()
        self._password_log_in = password_log_in
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "host_key"))
        self._write_users()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def fingerprint(self) -> str:
        """The host key's fingerprint, as `ssh-keygen -l` prints it."""
        return _run("ssh-keygen", "-l", "-f", str(self.folder / "host_key.pub")).split()[1]

    def start(self) -> None:
        """Start the server and wait until it listens."""
        password = "yes" if self._password_log_in else "no"
        conf = _CONF.format(addresses=self._addresses, port=self.port, folder=self.folder, password=password)
        (self.folder / "sshd_config").write_text(conf)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", _START, "sh", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _DEADLINE
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"sshd did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait(_DEADLINE)

    def rebuild(self) -> None:
        """Give the host another key, as a new installation does."""
        self.stop()
        (self.folder / "host_key").unlink()
        (self.folder / "host_key.pub").unlink()
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "host_key"))
        self.start()

    def _write_users(self) -> None:
        hashed = _run("openssl", "passwd", "-6", "-stdin", stdin=PASSWORD).strip()
        users = (("root", 0), (SUDOER, 4242), (PLAIN, 4243))
        self._write("passwd", [f"{name}:x:{number}:{number}::/:/bin/sh" for name, number in users] + [_SSHD_USER])
        self._write("shadow", [f"{name}:{hashed}:19000:0:99999:7:::" for name, _ in users])
        self._write("group", [f"{name}:x:{number}:" for name, number in users] + ["nogroup:x:65534:"])
        self._write("sudoers", ["root ALL=(ALL:ALL) ALL", f"{SUDOER} ALL=(ALL:ALL) NOPASSWD: ALL"], mode=0o440)

    def _write(self, name: str, lines: Sequence[str], mode: int = 0o644) -> None:
        file = self.folder / name
        file.write_text("\n".join(lines) + "\n")
        file.chmod(mode)


_SSHD_USER = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin"


def _run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=_DEADLINE)
    return done.stdout


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
