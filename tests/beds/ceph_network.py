"""Where the mons of a test cluster listen: which addresses of the loopback, which versions of Ceph's protocol."""

import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Version = Literal["v2", "v1"]
# Below the range that the kernel gives to outgoing connections, so that a port is still free when its mon is restarted.
PORTS = range(20000, 32000, 2)


@dataclass(frozen=True, slots=True)
class Network:
    """The families of addresses, the first one first in what a mon says of itself, and the versions of the protocol."""

    families: tuple[Literal["ipv4", "ipv6"], ...] = ("ipv4",)
    versions: tuple[Version, ...] = ("v2", "v1")

    def hosts(self, number: int) -> list[str]:
        """Return the addresses of the mon of this number, from 1 on; the loopback has but one of the second family."""
        return [f"127.0.0.{number}" if family == "ipv4" else "::1" for family in self.families]

    def vector(self, number: int, ports: tuple[int, int]) -> str:
        """Return all that a mon listens on, as Ceph writes it; `ports` are those of the versions 2 and 1."""
        places = [
            f"{version}:{bracketed(host)}:{ports[0 if version == 'v2' else 1]}"
            for host in self.hosts(number)
            for version in self.versions
        ]
        return f"[{','.join(places)}]"

    def free_ports(self, mons: int) -> list[tuple[int, int]]:
        """Find ports for so many mons."""
        hosts = [host for number in range(1, mons + 1) for host in self.hosts(number)]
        return free_port_pairs(hosts, mons)

    @property
    def conf(self) -> str:
        """The lines of the configuration for all; a mon alone listens on a second family."""
        return self._binds(self.families[:1])

    @property
    def mon_conf(self) -> str:
        """The lines of the configuration for mons."""
        return self._binds(self.families)

    def _binds(self, families: Sequence[str]) -> str:
        bound = {name: name in families for name in ("ipv4", "ipv6")}
        bound |= {"msgr2": "v2" in self.versions, "msgr1": "v1" in self.versions}
        return "\n".join(f"ms bind {name} = {str(is_so).lower()}" for name, is_so in bound.items())


def bracketed(host: str) -> str:
    """Return an address as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def free_port_pairs(hosts: Sequence[str], number: int) -> list[tuple[int, int]]:
    """Find so many pairs of neighbouring ports that are free on every host, one port a version of the protocol."""
    pairs: list[tuple[int, int]] = []
    for first in random.sample(PORTS, 400):
        if all(_is_free(host, port) for host in hosts for port in (first, first + 1)):
            pairs.append((first, first + 1))
        if len(pairs) == number:
            # Mons are ranked by their ports first, so a comes before b.
            return sorted(pairs)
    raise RuntimeError("no free ports")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
