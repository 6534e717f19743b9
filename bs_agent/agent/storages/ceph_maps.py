"""The map of a cluster's OSDs and pools: read anew only when the cluster has a newer one.

It is what costs most of a report, many megabytes where there are thousands of OSDs, and changes least; its epoch, of
which the status tells, counts every change.
"""

from dataclasses import dataclass

from bs_agent.agent.storages.ceph_answers import CRUSH_RULES, OSD_DUMP, OSD_TREE, OsdDump, Rule, Status, Tree
from bs_agent.agent.storages.ceph_link import CephLink


@dataclass(frozen=True, slots=True)
class OsdMap:
    """The parts of a map that a report needs."""

    dump: OsdDump
    rules: list[Rule]
    tree: Tree


class OsdMaps:
    """The newest map that was read."""

    def __init__(self, link: CephLink) -> None:
        self._link = link
        self._fsid, self._epoch = "", -1
        self._kept: OsdMap | None = None

    async def at(self, status: Status) -> OsdMap:
        """Return the map as of a status, or a newer one; from a mon that lags behind, an older one, this once.

        Raises:
            StorageProblem: it cannot be read.
        """
        epoch = status.epoch
        if self._kept and epoch is not None and (status.fsid, epoch) == (self._fsid, self._epoch):
            return self._kept
        self._kept = None
        # Only now: asked together with the status, it might be older than the epoch of which that tells.
        answers = await self._link.ask(OSD_DUMP, CRUSH_RULES, OSD_TREE)
        read = OsdMap(answers.read(OSD_DUMP), answers.read(CRUSH_RULES), answers.read(OSD_TREE))
        # An earlier one is of a mon that lags behind the one that told the epoch.
        if epoch is not None and read.dump.epoch >= epoch:
            self._kept, self._fsid, self._epoch = read, status.fsid, epoch
        return read
