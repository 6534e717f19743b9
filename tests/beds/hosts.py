"""Hosts with real systemd and real sshd: booted containers on a bridge in a network namespace that nothing else sees.

The hosts have no way out, as on an air-gapped site. They die with the thread that started them.
"""

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess, Popen

from tests.beds.image import base_image, compiled

TOOLS = ("debootstrap", "ip", "nsenter", "setpriv", "ssh", "ssh-keygen", "systemd-nspawn", "unshare")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)] + ([] if os.geteuid() == 0 else ["root"])
NETWORK = "10.99.0"
COMPILED = "/var/cache/compiled"
BOOT_SECONDS = 90.0
STOP_SECONDS = 40.0
COMMAND_SECONDS = 60.0
KEPT_SECONDS = 60  # a connection that nobody uses
BOOT = Path(__file__).with_name("boot-host.sh")
DIES_WITH_TEST = ("setpriv", "--pdeathsig")
OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private")
BRIDGE = ("link set lo up", "link add br0 type bridge", f"addr add {NETWORK}.1/24 dev br0", "link set br0 up")
NETWORK_FILE = "[Match]\nName=host0\n[Network]\nAddress={address}/24\nLinkLocalAddressing=no\n"
WANTS_REBOOT = 133  # how systemd-nspawn ends when the host asks for a reboot


class Host:
    """One booted host, reached over SSH as root."""

    def __init__(self, site: "Site", name: str, address: str) -> None:
        self.site, self.name, self.address = site, name, address
        self.folder = site.folder / name
        self.process: Popen[bytes] | None = None

    def run(
        self, *command: str, stdin: str = "", check: bool = True, seconds: float = COMMAND_SECONDS
    ) -> CompletedProcess[str]:
        """Run one command on the host; a shell there sees its words joined by spaces, as with ssh."""
        done = subprocess.run(
            self._ssh("-o", "ControlMaster=auto", "-o", f"ControlPersist={KEPT_SECONDS}", command=command),
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def _ssh(self, *options: str, command: Sequence[str] = ()) -> list[str]:
        """Return the words of an ssh that shares one connection with the others to this host."""
        shared = ["-o", f"ControlPath={self.folder}/ssh"]
        return self.site.inside("ssh", *self.site.ssh_options, *shared, *options, f"root@{self.address}", *command)

    def _hang_up(self) -> None:
        """Close the connection, which would not notice that the host is gone."""
        if (self.folder / "ssh").exists():
            subprocess.run(self._ssh("-O", "exit"), check=False, capture_output=True, timeout=COMMAND_SECONDS)

    def output(self, *command: str, stdin: str = "") -> str:
        """Return what a command on the host printed, without the last line's end."""
        return self.run(*command, stdin=stdin).stdout.rstrip("\n")

    def write(self, path: str, content: str, mode: str = "0644") -> None:
        """Write a file on the host."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=content)

    def boot(self) -> None:
        """Start the host; `wait` tells when it is up."""
        with (self.folder / "console.log").open("ab") as console:
            boot = [str(BOOT), self.machine, self.site.network, str(self.site.image), str(self.folder)]
            bound = [f"--bind={self.site.compiled}:{COMPILED}"] if self.site.compiled else []
            command = [*DIES_WITH_TEST, "TERM", *OWN_MOUNTS, *boot, *bound]
            self.process = Popen(command, stdin=DEVNULL, stdout=console, stderr=console)

    @property
    def machine(self) -> str:
        """The name of the container on the machine that runs the tests."""
        return f"{self.site.name}-{self.name}"

    def wait(self, seconds: float = BOOT_SECONDS) -> None:
        """Wait until systemd has started all there is to start."""
        deadline = time.monotonic() + seconds
        state = "no answer"
        while time.monotonic() < deadline and self.process and self.process.poll() is None:
            done = self.run("systemctl", "is-system-running", "--wait", check=False)
            state = done.stdout.strip() or done.stderr.strip()
            if state in ("running", "degraded"):
                return
            time.sleep(0.2)
        console = (self.folder / "console.log").read_text(errors="replace")[-2000:]
        raise AssertionError(f"{self.name} did not boot: {state}\n{console}")

    def reboot(self) -> None:
        """Boot the host again, as `reboot` typed on it does, and wait until it is up."""
        self.run("systemctl", "reboot", check=False)
        if self.process is None or self.process.wait(STOP_SECONDS) != WANTS_REBOOT:
            raise AssertionError(f"{self.name} did not go down for a reboot")
        self._hang_up()
        self.boot()
        self.wait()

    def cut(self) -> None:
        """Take the host off the network."""
        self._hang_up()
        self.site.link(self, "down")

    def mend(self) -> None:
        """Put the host on the network again and wait until it answers."""
        self.site.link(self, "up")
        self.wait()

    def stop(self) -> None:
        """Stop the host at once and take its control groups away."""
        if self.process is None:
            return
        self._hang_up()
        self.process.kill()
        self.process.wait(STOP_SECONDS)
        self.process = None
        _remove_groups(self.machine)


class Site:
    """A network of booted hosts and the SSH key that opens them."""

    def __init__(self, folder: Path, names: Sequence[str], *, remember: bool = True) -> None:
        self.folder, self.image = folder, base_image()
        self.compiled = compiled() if remember else None
        self.name = f"bs{uuid.uuid4().hex[:8]}"
        self.network = ""
        self.key, self.known_hosts = folder / "id_ed25519", folder / "known_hosts"
        self.hosts = {name: Host(self, name, f"{NETWORK}.{number}") for number, name in enumerate(names, start=11)}

    @property
    def ssh_options(self) -> list[str]:
        """The options that make ssh use this site's key and know this site's hosts, and nothing else."""
        options = {
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": 3,
            "KexAlgorithms": "curve25519-sha256",  # the one that is thought for later days takes ten times as long
            "LogLevel": "ERROR",
        }
        given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["-F", "none", "-i", str(self.key), *given]

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs `command` on the hosts' network."""
        return ["nsenter", f"--net={self.network}", *command]

    def output(self, *command: str) -> str:
        """Return what a command prints that runs on this machine, but on the hosts' network; it may fail."""
        words = self.inside(*command)
        return subprocess.run(words, check=False, capture_output=True, text=True, timeout=COMMAND_SECONDS).stdout

    def link(self, host: Host, state: str) -> None:
        """Set the link of a host `up` or `down`."""
        links = subprocess.run(
            self.inside("ip", "-o", "link", "show", "type", "veth"),
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
        name = next(line.split()[1].split("@")[0] for line in links.stdout.splitlines() if self._peer(line) == host)
        subprocess.run(self.inside("ip", "link", "set", name, state), check=True, timeout=10)

    def _peer(self, line: str) -> Host | None:
        # systemd-nspawn calls the link vb-<machine>; a name that is too long is cut and the whole one put beside it.
        return next((host for host in self.hosts.values() if f"vb-{host.machine}" in line), None)


@contextmanager
def booted(folder: Path, *names: str, remember: bool = True) -> Iterator[Site]:
    """Boot hosts of these names side by side; they are stopped at the end.

    Unless `remember` is false, Python there remembers what it compiled (see `remember_compiled.py`).
    """
    site = Site(folder, names, remember=remember)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(site.key)], check=True, timeout=10)
    with ExitStack() as stack:
        stack.enter_context(_network(site))
        for host in site.hosts.values():
            _prepare(host)
            stack.callback(shutil.rmtree, host.folder / "upper", ignore_errors=True)  # memory
            stack.callback(host.stop)
            host.boot()
        for host in site.hosts.values():
            host.wait()
        yield site


@contextmanager
def _network(site: Site) -> Iterator[None]:
    """Make the network namespace with its bridge; it lives as long as the process that holds it."""
    hold = ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"]
    holder = Popen([*DIES_WITH_TEST, "KILL", *hold], stdin=DEVNULL, stdout=PIPE)
    try:
        if holder.stdout is None or not holder.stdout.readline():
            raise RuntimeError("no network namespace")
        site.network = f"/proc/{holder.pid}/ns/net"
        for change in BRIDGE:
            subprocess.run(site.inside("ip", *change.split()), check=True, timeout=10)
        yield
    finally:
        holder.kill()
        holder.communicate()


def _prepare(host: Host) -> None:
    """Write what makes this host different from the base image."""
    for part in ("upper", "work", "root"):
        (host.folder / part).mkdir(parents=True)
    upper = host.folder / "upper"
    hosts = "".join(f"{other.address} {other.name}\n" for other in host.site.hosts.values())
    files = {
        "etc/hostname": f"{host.name}\n",
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{hosts}",
        "etc/systemd/network/10-host0.network": NETWORK_FILE.format(address=host.address),
        "root/.ssh/authorized_keys": host.site.key.with_suffix(".pub").read_text(),
    }
    for name, content in files.items():
        path = upper / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (upper / "root/.ssh").chmod(0o700)
    (upper / "root").chmod(0o700)
    (upper / "etc/ssh").mkdir()
    key = upper / "etc/ssh/ssh_host_ed25519_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=10)
    with host.site.known_hosts.open("a") as known:
        known.write(f"{host.address},{host.name} {key.with_suffix('.pub').read_text()}")


def _remove_groups(machine: str) -> None:
    """End what is left of a host and take its control groups away, the lowest first."""
    deadline = time.monotonic() + STOP_SECONDS
    # os.walk, for control groups come and go while one looks
    while tops := [Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup") if Path(folder).name == machine]:
        groups = [Path(folder) for top in tops for folder, _, _ in os.walk(top, topdown=False)]
        with suppress(OSError):  # the last processes need a moment to end
            for group in groups:
                for process in (group / "cgroup.procs").read_text().split():
                    os.kill(int(process), signal.SIGKILL)
                group.rmdir()
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{machine}: control groups are left: {tops}")
        time.sleep(0.05)
