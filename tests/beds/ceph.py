"""A real Ceph cluster on loopback: mons, a mgr and OSDs in one folder, to be killed, frozen and restarted by name.

The processes die with the thread that started them, so a killed test run leaves nothing behind.
"""

import functools
import json
import os
import shutil
import signal
import string
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.beds.ceph_asking import CephAsking
from tests.beds.ceph_conf import CONF, UNUSED_MODULES
from tests.beds.ceph_network import Network, Version, bracketed
from tests.beds.place import HERE, Place

PROGRAMS = ("ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool", "setpriv")
MISSING = [program for program in PROGRAMS if not shutil.which(program)]
WITHOUT_CONF = frozenset({"ceph-authtool", "monmaptool"})
OCTOPUS = 15  # mutes health checks, and makes a pool with a word about the autoscaler
START_SECONDS = 90.0
COMMAND_SECONDS = 30.0


class CephCluster:
    """A Ceph cluster; `mon_ports` of an earlier one makes a stranger under the same addresses.

    Its programs are those of a `place`. There the folder may be known as `home`, and the admin sockets of all of its
    daemons may be in `sockets`, both as the layouts of a host have them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        mons: int = 3,
        osds: int = 3,
        objectstore: Literal["bluestore", "memstore"] = "bluestore",
        osd_bytes: int = 2 << 30,
        mon_ports: Sequence[tuple[int, int]] | None = None,
        extra: str = "",
        network: Network = Network(),  # noqa: B008  it cannot be changed
        place: Place = HERE,
        fsid: str = "",
        home: str = "",
        sockets: str = "",
    ) -> None:
        self.folder = folder
        self.fsid = fsid or str(uuid.uuid4())
        self.place = place
        self.home = Path(home or folder)
        self.network = network
        self.conf = folder / "ceph.conf"
        self.keyring = folder / "client.keyring"
        self.mons = list(string.ascii_lowercase[:mons])
        self.mon_hosts = [network.hosts(number)[0] for number in range(1, mons + 1)]
        self.mon_ports = list(mon_ports or network.free_ports(mons))
        self.osds = osds
        self._objectstore = objectstore
        self._osd_bytes = osd_bytes
        self._extra = extra
        self._sockets = sockets
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._asking = CephAsking(place, self._inside(self.conf), COMMAND_SECONDS * 2)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for data in [*self.folder.glob("osd.*/"), *self.folder.glob("mon.*/")]:  # memory; what the daemons said stays
            shutil.rmtree(data)

    def mon_address(self, mon: str, version: Version = "v1") -> str:
        """Return `host:port` of a mon, the host in brackets where it is of IPv6."""
        index = self.mons.index(mon)
        return f"{bracketed(self.mon_hosts[index])}:{self.mon_ports[index][0 if version == 'v2' else 1]}"

    def admin_socket(self, mon: str) -> Path:
        """Return the path of a mon's admin socket."""
        return self.run_dir(mon) / f"ceph-mon.{mon}.asok"

    def run_dir(self, mon: str) -> Path:
        """Return the run directory of the host of a mon: an agent that looks there sees this mon only."""
        return self.folder / f"host-{mon}"

    @functools.cached_property
    def release(self) -> int:
        """Return the release of its programs."""
        return int(self._run("ceph-mon", "--version").removeprefix("ceph version ").partition(".")[0])

    def start(self) -> None:
        """Make the cluster and wait until it is healthy."""
        try:
            self._make()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every daemon at once; the folder stays."""
        self._asking.stop()
        for daemon in self._daemons.values():
            if daemon.poll() is None:
                daemon.kill()
        for daemon in self._daemons.values():
            daemon.wait(COMMAND_SECONDS)
        self._daemons.clear()

    def pid(self, name: str) -> int:
        """Return the process id of a daemon such as `mon.a`, `mgr.x` or `osd.0`."""
        return self._daemons[name].pid

    def kill(self, name: str, by: signal.Signals = signal.SIGKILL) -> None:
        """End a daemon as a crash would."""
        self._daemons[name].send_signal(by)
        self._daemons.pop(name).wait(COMMAND_SECONDS)

    @contextmanager
    def killed(self, *names: str, by: signal.Signals = signal.SIGKILL) -> Iterator[None]:
        """Have daemons dead while the context is open, whatever happens in it."""
        for name in names:
            self.kill(name, by)
        try:
            yield
        finally:
            for name in names:
                self.restart(name)

    @contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """Have daemons stopped in their tracks while the context is open, whatever happens in it."""
        for name in names:
            self.freeze(name)
        try:
            yield
        finally:
            for name in names:
                self.thaw(name)

    def freeze(self, name: str) -> None:
        """Stop a daemon in its tracks; its connections stay open."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let a frozen daemon go on."""
        os.kill(self.pid(name), signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Start a daemon that was killed."""
        kind, ident = name.split(".", 1)
        self._launch(kind, ident)

    def move(self, mon: str) -> None:
        """Give a mon other ports, in the map of the cluster and in its own."""
        self.kill(f"mon.{mon}")
        index = self.mons.index(mon)
        self.mon_ports[index] = self.network.free_ports(len(self.mons))[0]
        monmap = self._inside(self.folder / "monmap")

        def knows_it() -> bool:
            # A leader that loses its office may forget what it was told.
            self.ceph("mon", "set-addrs", mon, self._vectors()[index])
            # A peon may still tell the map before; a mon that starts by that one has it restored.
            self._run("ceph", "mon", "getmap", "-o", monmap)
            return self.mon_address(mon) in self._run("monmaptool", "--print", monmap)

        self.wait_for(knows_it)
        self._run("ceph-mon", "-i", mon, "--inject-monmap", monmap)
        self.restart(f"mon.{mon}")
        self.wait_for(lambda: mon in self.quorum())

    def ceph(self, *words: str, stdin: str = "", mon: str = "") -> Any:
        """Return the answer to a command of `ceph`, for set-up and for looking from outside; `mon` is whom to ask."""
        answer = self._asking.ask(words, stdin, mon)
        return json.loads(answer) if answer.strip() else None

    def rados(self, *arguments: str, stdin: str = "") -> str:
        """Run the `rados` command line."""
        return self._run("rados", *arguments, stdin=stdin)

    def pool(self, name: str, *words: str) -> None:
        """Make a small pool."""
        unscaled = ["--autoscale-mode=off"] if self.release >= OCTOPUS else []
        self.ceph("osd", "pool", "create", name, "8", "8", *words, *unscaled)
        self.ceph("osd", "pool", "application", "enable", name, "rbd")

    def df(self, pool: str) -> dict[str, Any]:
        """Return the numbers of a pool in `df detail`."""
        return next(dict(found["stats"]) for found in self.ceph("df", "detail")["pools"] if found["name"] == pool)

    def device_class(self, osd: int) -> str:
        """Return the device class that an OSD has given itself."""
        return str(self.ceph("osd", "crush", "get-device-class", str(osd))[0]["device_class"])

    def bytes_of(self, osds: Sequence[int]) -> int:
        """Return the raw size of some OSDs."""
        return sum(osd["kb"] * 1024 for osd in self.ceph("osd", "df")["nodes"] if osd["id"] in osds)

    def pools(self) -> dict[str, dict[str, Any]]:
        """Return the pools of the OSD map by name, as the leader has them: another mon may be some seconds behind."""
        leader = self.mon_address(self.ceph("quorum_status")["quorum_leader_name"])
        return {pool["pool_name"]: pool for pool in self.ceph("osd", "dump", mon=leader)["pools"]}

    def objects(self, pool: str) -> list[str]:
        """List every object of a pool, in all namespaces."""
        return sorted(self.rados("-p", pool, "ls", "--all").splitlines())

    def wait_for(self, condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Wait until the condition holds, or fail."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster in {self.folder} did not get there in {seconds} s")
            time.sleep(0.1)

    def quorum(self) -> list[str]:
        """Return the names of the mons in quorum."""
        return list(self.ceph("quorum_status")["quorum_names"])

    def mon_state(self, mon: str) -> str:
        """Return what a mon says of itself, with or without a quorum."""
        status = json.loads(self._run("ceph", "--admin-daemon", str(self.admin_socket(mon)), "mon_status"))
        return str(status["state"])

    def settle(self) -> None:
        """Wait until all mons are in quorum, all OSDs up, all placement groups clean, and the mgr counts them."""
        self.wait_for(self._settled)

    def _settled(self) -> bool:
        status, numbers = self.ceph("status"), self.ceph("df")
        pools = self.ceph("osd", "dump")["pools"]
        states = {state["state_name"]: state["count"] for state in status["pgmap"]["pgs_by_state"]}
        return (
            len(status["quorum"]) == len(self.mons)
            and status["mgrmap"]["available"]
            and status["osdmap"].get("osdmap", status["osdmap"])["num_up_osds"] == self.osds  # deeper in 14
            and sum(states.values()) == states.get("active+clean", 0) == sum(pool["pg_num"] for pool in pools)
            and numbers["stats"]["num_osds"] == self.osds
            and {pool["id"] for pool in numbers["pools"]} == {pool["pool"] for pool in pools}
        )

    def _make(self) -> None:
        self.conf.write_text(
            CONF.format(
                fsid=self.fsid,
                mon_host=" ".join(self._vectors()),
                network=self.network.conf,
                mon_network=self.network.mon_conf,
                loopback=self.network.hosts(1)[0],
                folder=self.home,
                sockets=self._sockets or self.home,
                mon_sockets=self._sockets or f"{self.home}/host-$id",
                size=min(2, self.osds),
                objectstore=self._objectstore,
                osd_bytes=self._osd_bytes,
                modules=",".join(UNUSED_MODULES.split()),
                extra=self._extra,
            )
        )
        self._make_mons()
        self._make_mgr()
        self._make_osds()
        if self.release >= OCTOPUS:
            # Debian 13's Python libraries do not let the mgr load its modules, which nobody needs here.
            self.ceph("health", "mute", "MGR_MODULE_DEPENDENCY", "--sticky")
        self.settle()

    def _make_mons(self) -> None:
        rights = [word for service in ("mon", "osd", "mgr", "mds") for word in ("--cap", service, "allow *")]
        admin = self._inside(self.keyring)
        self._run("ceph-authtool", "--create-keyring", admin, "--gen-key", "-n", "client.admin", *rights)
        mon_keyring = self.folder / "mon.keyring"
        shutil.copy(self.keyring, mon_keyring)
        self._run("ceph-authtool", self._inside(mon_keyring), "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        monmap, made_by = self._inside(self.folder / "monmap"), self._inside(mon_keyring)
        self._run("monmaptool", "--create", "--fsid", self.fsid, "--set-min-mon-release", str(self.release), monmap)
        for mon, vector in zip(self.mons, self._vectors(), strict=True):
            self._run("monmaptool", "--addv", mon, vector, monmap)
        mkfs = ["ceph-mon", "--mkfs", "--monmap", monmap, "--keyring", made_by]
        self._run_all([[*mkfs, "-i", mon] for mon in self.mons])
        for mon in self.mons:
            self.run_dir(mon).mkdir(exist_ok=True)
            self._launch("mon", mon)

    def _make_mgr(self) -> None:
        data = self.folder / "mgr.x"
        data.mkdir()
        rights = ["mon", "allow profile mgr", "osd", "allow *", "mds", "allow *"]
        _write_keyring(data / "keyring", "mgr.x", self.ceph("auth", "get-or-create", "mgr.x", *rights)[0]["key"])
        self._launch("mgr", "x")

    def _make_osds(self) -> None:
        jobs = []
        for number in range(self.osds):
            data = self.folder / f"osd.{number}"
            data.mkdir()
            # Which kinds of keys there are differs between the releases.
            ident, key = str(uuid.uuid4()), self._run("ceph-authtool", "--gen-print-key").strip()
            self.ceph("osd", "new", ident, stdin=json.dumps({"cephx_secret": key}))
            _write_keyring(data / "keyring", f"osd.{number}", key)
            jobs.append(["ceph-osd", "-i", str(number), "--mkfs", "--osd-uuid", ident])
        self._run_all(jobs)
        for number in range(self.osds):
            self._launch("osd", str(number))

    def _vectors(self) -> list[str]:
        return [self.network.vector(number, ports) for number, ports in enumerate(self.mon_ports, start=1)]

    def _inside(self, path: Path) -> str:
        """Return the path of something in the folder as the programs know it."""
        return str(self.home / path.relative_to(self.folder))

    def _launch(self, kind: str, ident: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a daemon dies with the thread that starts it, so the main thread must")
        with (self.folder / f"{kind}.{ident}.out").open("ab") as output:
            self._daemons[f"{kind}.{ident}"] = subprocess.Popen(
                self.place.command(
                    "setpriv", "--pdeathsig", "KILL", f"ceph-{kind}", "-f", "-c", self._inside(self.conf), "-i", ident
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        conf = [] if program in WITHOUT_CONF else ["-c", self._inside(self.conf)]
        done = subprocess.run(
            self.place.command(program, *conf, *arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS * 2,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _run_all(self, commands: list[list[str]]) -> None:
        running = [
            subprocess.Popen(
                self.place.command(*command, "-c", self._inside(self.conf)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for command in commands
        ]
        said = [process.communicate(timeout=START_SECONDS)[1] for process in running]
        for process, errors in zip(running, said, strict=True):
            if process.returncode:
                raise RuntimeError(f"{process.args!r}: {errors.strip()}")


def _write_keyring(path: Path, entity: str, key: str) -> None:
    path.write_text(f"[{entity}]\n\tkey = {key}\n")
    path.chmod(0o600)
