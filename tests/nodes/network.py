"""A network of its own for each node, joined to this machine by a cable that can be pulled out."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_DEADLINE = 30


def missing() -> str:
    """Say why there can be no such network here; empty when there can."""
    if os.geteuid() != 0:
        return "networks of one's own want root"
    lacking = [name for name in ("ip", "nsenter") if not shutil.which(name)]
    return f"{', '.join(lacking)} is not installed (apt-get install iproute2 util-linux)" if lacking else ""


@dataclass(frozen=True, slots=True)
class Cable:
    """The way to one node: its address, this machine's address on that way, and what runs a command there."""

    name: str
    address: str
    here: str

    @property
    def inside(self) -> tuple[str, ...]:
        """What stands before a command that is to run there."""
        return "nsenter", f"--net=/run/netns/{self.name}"

    def pull(self) -> None:
        """Let nothing through any more, in either direction, without a word to anybody."""
        _ip("link", "set", self.name, "down")

    def plug(self) -> None:
        """Let everything through again."""
        _ip("link", "set", self.name, "up")


@dataclass(frozen=True, slots=True)
class Network:
    """What the nodes and this machine share: a part of 10.0.0.0/8 that is this process's own."""

    prefix: str
    cables: tuple[Cable, ...]

    def agent(self, number: int) -> str:
        """Return the address of an agent; all of them are on this machine."""
        return f"{self.prefix}.{number // 250}.{number % 250 + 1}"

    @property
    def whole(self) -> str:
        """The whole network."""
        return f"{self.prefix}.0.0/16"


@contextmanager
def network(nodes: int) -> Iterator[Network]:
    """Have a network for so many nodes while the context is open."""
    number = os.getpid() % 200 + 30
    prefix, here = f"10.{number}", f"10.{number}.0.0/17"
    cables = [
        Cable(f"bs{os.getpid()}n{each}", f"{prefix}.{200 + each}.2", f"{prefix}.{200 + each}.1")
        for each in range(nodes)
    ]
    try:
        _ip("route", "add", "local", here, "dev", "lo")
        for cable in cables:
            _lay(cable)
        yield Network(prefix, tuple(cables))
    finally:
        for cable in cables:
            _ip("netns", "delete", cable.name, check=False)  # its end of the cable goes with it, and so does the other
        _ip("route", "delete", "local", here, "dev", "lo", check=False)


def _lay(cable: Cable) -> None:
    _ip("netns", "add", cable.name)
    there = f"{cable.name}i"
    _ip("link", "add", cable.name, "type", "veth", "peer", "name", there)
    _ip("link", "set", there, "netns", cable.name)
    _ip("address", "add", f"{cable.here}/24", "dev", cable.name)
    _ip("link", "set", cable.name, "up")
    for command in (
        ("address", "add", f"{cable.address}/24", "dev", there),
        ("link", "set", there, "up"),
        ("link", "set", "lo", "up"),
        ("route", "add", "default", "via", cable.here),
    ):
        _ip("-n", cable.name, *command)


def _ip(*words: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=_DEADLINE, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr}")
