"""A Ceph pool as seen from one mon host: by librados in the worker, and by the admin socket of the own mon."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bs_agent.agent.storages.base import Host, Probe, Reading
from bs_agent.agent.storages.ceph_answers import (
    DF,
    MON_METADATA,
    OSD_DF,
    OSD_DUMP,
    QUORUM_STATUS,
    STATUS,
    OsdDf,
    OsdDump,
    PoolAnswers,
    Status,
)
from bs_agent.agent.storages.ceph_capacity import cluster_of, lacks_osds, pools_of, silent_osds
from bs_agent.agent.storages.ceph_greetings import living
from bs_agent.agent.storages.ceph_link import CephLink, cluster_of_host
from bs_agent.agent.storages.ceph_maps import OsdMaps
from bs_agent.agent.storages.ceph_mons import mons_of
from bs_agent.agent.storages.ceph_own_mon import OwnMon
from bs_agent.agent.storages.ceph_pool import CephPool
from bs_agent.contract.bounds import Count
from bs_agent.contract.errors import StorageProblem, explain
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CEPH, CephParameters, CephReport, Cluster, Mon, Pool, Section, Step

T = TypeVar("T")

# The files by which the makers of these products are told.
VENDOR_FILES = {
    "/usr/bin/xms-cli": "xsky",
    "/opt/sandstone/bin/sds": "sandstone",
    "/var/lib/ceph/bin/ceph": "sandstone",
    "/opt/zstone/bin/zstnlet": "zstone",
}
# For so long after an answer, silence of mons that live may be an election.
ELECTION_SECONDS = 30.0
LOOK_SECONDS = 0.5


class Memory(BaseModel):
    """What is remembered of a pool: cluster, name and number, and whether a write probe may have left its object."""

    fsid: str
    poolName: str
    poolId: Count | None = None
    writeProbe: bool


class Ceph:
    """One Ceph backup storage on one mon host."""

    kind = CEPH

    def __init__(self, uuid: str, parameters: CephParameters, remembered: dict[str, Any] | None, host: Host) -> None:
        self.uuid = uuid
        self._parameters = parameters
        self._remembered = remembered
        self._host = host
        self._link = CephLink(host)
        known = remembered.get("poolId") if remembered else None
        self._pool = CephPool(
            self._link, parameters.poolName, uuid, parameters.poolId if parameters.poolId is not None else known
        )
        self._maps = OsdMaps(self._link)
        self._own_mon = OwnMon(self._link, host, parameters.monAddress, parameters.hostAddress)
        self._vendor = vendor()
        self._mgr_active = True
        self._mons: list[Mon] = []
        self._mon_was_out = False
        self._made: bool | None = None  # whether the pool that `connect` made was new; None: it made none
        self._made_just_now = False
        read = {"cluster": self._read_cluster, "pools": self._read_pools, "mons": self._read_mons}
        probes = [Probe(section, partial(self._explained, reading)) for section, reading in read.items()]
        probes.append(Probe("localMon", self._read_local_mon))
        if parameters.writeProbe:
            probes.append(Probe("writeProbe", self._read_write_probe))
        self.probes = tuple(probes)

    def report(self, sections: Mapping[str, Section[Any]]) -> CephReport:
        """Return the report with these sections."""
        self._made_just_now = False
        return CephReport(uuid=self.uuid, poolName=self._parameters.poolName, poolId=self._pool.number, **sections)

    async def connect(self, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Verify cluster, mon and pool on a fresh handle; make the pool if the command says so."""
        return await self._explained(partial(self._connect, others))

    async def undo(self) -> None:
        """Remove the pool that was made, or the mark that was put on it."""
        if self._made is not None:
            await self._pool.unmake(new=self._made)

    async def plan_cleanup(self) -> list[Step]:
        """Return the steps that remove our object and our mark, or the pool that we made."""
        return await self._explained(self._leftovers)

    async def clean(self, step: Step) -> None:
        """Do one step, if this is still the same cluster."""
        self._check_fsid((await self._link.ask(STATUS)).read(STATUS).fsid)
        await self._pool.clean(step)

    def repeatable(self, step: Step) -> bool:  # noqa: ARG002  every step of ours looks before it acts
        """Tell that every step may be done twice."""
        return True

    async def close(self) -> None:
        """Give the worker back."""
        await self._link.close()

    async def _connect(self, others: Sequence[dict[str, Any]]) -> dict[str, Any]:
        name = self._parameters.poolName
        if self._remembered and self._remembered["poolName"] != name:
            details = f"this backup storage is in pool {self._remembered['poolName']}; delete it there first"
            raise StorageProblem.of(ReasonCode.POOL_FOREIGN, details)
        self._link.renew()
        answers = await self._link.ask(STATUS, OSD_DUMP, QUORUM_STATUS)
        fsid = answers.read(STATUS).fsid
        self._check_fsid(fsid)
        self._mons = mons_of(answers.read(QUORUM_STATUS), [])
        await self._check_mon_address(fsid)
        pool = await self._settle_pool(answers.read(OSD_DUMP), [other for other in others if other["fsid"] == fsid])
        left = await self._write_probe_to_come()
        self._remembered = Memory(fsid=fsid, poolName=name, poolId=pool, writeProbe=left).model_dump()
        return self._remembered

    async def _settle_pool(self, dump: OsdDump, others: Sequence[dict[str, Any]]) -> int:
        """See that the pool is there and ours, or make it; return its number."""
        name, create = self._parameters.poolName, self._parameters.createPool
        is_there = self._pool.named(dump) or self._pool.find(dump)
        if self._pool.strayed(dump) and (is_there or not create):
            dump = await self._pool.dump_again()
            if reason := self._pool.strayed(dump):
                raise StorageProblem(reason)
        pool = self._pool.named(dump)
        if any(other["poolName"] == name or (pool and other.get("poolId") == pool.pool) for other in others):
            raise StorageProblem.of(ReasonCode.POOL_FOREIGN, f"pool {name} is the one of another backup storage")
        if create and (pool is None or self._pool.is_unfinished(pool)):
            self._made, self._made_just_now = pool is None, pool is None
            self._pool.number = pool.pool if pool else None
            await self._pool.make(new=self._made)
            pool = self._pool.named((await self._link.ask(OSD_DUMP)).read(OSD_DUMP))
        if pool is None:
            raise StorageProblem.of(ReasonCode.POOL_MISSING, f"pool {name} was removed again")
        self._pool.number = pool.pool
        return pool.pool

    async def _leftovers(self) -> list[Step]:
        dump = (await self._link.ask(OSD_DUMP)).read(OSD_DUMP)
        self._check_fsid(dump.fsid)
        pool = self._pool.find(dump)
        remove_pool = self._parameters.removePool or self._made_just_now
        if remove_pool and not (pool and self._pool.is_ours(pool)):
            pool = self._pool.find(await self._pool.dump_again())
        return await self._pool.leftovers(pool, remove_pool=remove_pool) if pool else []

    async def _write_probe_to_come(self) -> bool:
        """Remove what an interrupted write probe left, if there will be no next one to do it; say what to remember."""
        if self._parameters.writeProbe or not (self._remembered and self._remembered["writeProbe"]):
            return self._parameters.writeProbe
        with suppress(StorageProblem):
            await self._pool.remove_object()
            return False
        return True

    async def _check_mon_address(self, fsid: str) -> None:
        try:
            _, reason = await self._own_mon.look(fsid)
        except StorageProblem as error:
            reason = error.reason
        if reason and reason.code == ReasonCode.MON_ADDR_CHANGED:
            raise StorageProblem(reason)

    def _check_fsid(self, found: str) -> None:
        if self._fsid and found != self._fsid:
            self._link.renew()  # the configuration may be put right again, and is read by a fresh handle only
            details = f"the cluster of {self._host.settings.ceph.conf} is {found}, not {self._fsid}"
            raise StorageProblem.of(ReasonCode.FSID_MISMATCH, details)

    @property
    def _fsid(self) -> str:
        return self._parameters.fsid or (self._remembered["fsid"] if self._remembered else "")

    async def _read_cluster(self) -> Reading:
        answers = await self._link.ask(STATUS, DF)
        status = answers.read(STATUS)
        self._check_fsid(status.fsid)
        df = answers.read(DF)
        cluster = cluster_of(status, df, self._vendor)
        self._mgr_active = cluster.mgrActive
        if lacks_osds(status, df):
            raise StorageProblem.of(ReasonCode.MGR_DOWN, "the mgr has not heard of all OSDs yet")
        silent = self._link.mgr_silent
        return Reading(cluster, cluster_reason(cluster, mgr_silent=silent), stale=silent or not cluster.mgrActive)

    async def _read_pools(self) -> Reading:
        # Without an active mgr its question would take its whole time-out.
        asked = (OSD_DF,) if self._mgr_active else ()
        answers = await self._link.ask(STATUS, DF, *asked)
        status = answers.read(STATUS)
        self._check_fsid(status.fsid)
        osds = await self._maps.at(status)
        self._check_fsid(osds.dump.fsid)
        reason = self._pool.strayed(osds.dump)
        if reason and reason.code == ReasonCode.POOL_REPLACED:
            raise StorageProblem(reason)  # the last numbers of our own pool stay
        self._note_mgr(status)
        osd_df: OsdDf = (answers if asked else await self._link.ask(OSD_DF)).read(OSD_DF)
        if silent := silent_osds(osd_df):
            raise StorageProblem.of(ReasonCode.MGR_DOWN, f"the mgr has not heard of the OSDs {silent} yet")
        parts = PoolAnswers(answers.read(DF), osds.dump, osds.rules, osds.tree, osd_df)
        try:
            pools = pools_of(parts, self._parameters.capacityPolicy, self._parameters.poolName)
        except ValueError as error:
            raise StorageProblem.of(ReasonCode.CEPH_FAULT, str(error)) from None
        return Reading(pools, reason or pool_reason(pools, self._parameters.poolName))

    def _note_mgr(self, status: Status) -> None:
        self._mgr_active = status.mgrmap.available
        if not self._mgr_active:
            raise StorageProblem.of(ReasonCode.MGR_DOWN, "no mgr is active")

    async def _read_mons(self) -> Reading:
        answers = await self._link.ask(QUORUM_STATUS, MON_METADATA)
        quorum = answers.read(QUORUM_STATUS)
        self._check_fsid(quorum.monmap.fsid)
        self._mons = mons_of(quorum, answers.read(MON_METADATA))
        return Reading(self._mons)

    async def _read_local_mon(self) -> Reading:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._host.deadline - LOOK_SECONDS
        while True:
            mon, reason = await self._explained(partial(self._own_mon.look, self._fsid))
            out = reason is not None and reason.code == ReasonCode.MON_OUT_OF_QUORUM
            # Every mon is out while a leader is elected: that is said only when it lasts, and then at once.
            if not out or self._mon_was_out or loop.time() > until:
                self._mon_was_out = out
                return Reading(mon, reason)
            await asyncio.sleep(LOOK_SECONDS)

    async def _read_write_probe(self) -> Reading:
        return Reading(round(await self._pool.write_probe(), 4))

    async def _explained(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something with the cluster; if the mons do not answer, say what that means."""
        until = asyncio.get_running_loop().time() + self._host.deadline
        try:
            return await work()
        except ValidationError as error:
            details = f"what the cluster says no report can hold: {explain(error)}"
            raise StorageProblem.of(ReasonCode.CEPH_FAULT, details) from None
        except StorageProblem as error:
            if error.reason.code not in {ReasonCode.CLUSTER_UNREACHABLE, ReasonCode.PROBE_TIMEOUT}:
                raise
            raise StorageProblem(await self._why_silent(error.reason, until)) from None

    async def _why_silent(self, seen: Reason, until: float) -> Reason:
        """Say what silence means: without a majority no quorum, with one an election, which passes."""
        mons, alive = len(self._mons), len(await living(self._mons))
        if not alive:
            return await self._by_own_mon(seen, until)
        details = f"{alive} of {mons} mons live; {seen.details}"
        if 2 * alive <= mons:
            return Reason(code=ReasonCode.NO_QUORUM, details=details)
        believes = await self._own_mon.counts_itself_in(self._fsid)
        code = ReasonCode.NO_QUORUM if believes is False else seen.code
        return self._patient(Reason(code=code, details=details), ELECTION_SECONDS)

    async def _by_own_mon(self, seen: Reason, until: float) -> Reason:
        """Say what our own mon knows, when none can be reached or none is known; it may be elected before `until`."""
        loop = asyncio.get_running_loop()
        while True:
            believes = await self._own_mon.counts_itself_in(self._fsid)
            if believes is not False or loop.time() > until - LOOK_SECONDS:
                break
            await asyncio.sleep(LOOK_SECONDS)
        if believes is False:
            details = f"the mon of this host is in no quorum; {seen.details}"
            return Reason(code=ReasonCode.NO_QUORUM, details=details)
        return self._patient(seen, ELECTION_SECONDS if believes else self._host.settings.probe.interval)

    def _patient(self, seen: Reason, seconds: float) -> Reason:
        """Call silence a time-out, which blocks nothing, for so many seconds after the last answer."""
        if asyncio.get_running_loop().time() - self._link.answered < seconds:
            return Reason(code=ReasonCode.PROBE_TIMEOUT, details=seen.details)
        return seen


def place(_parameters: CephParameters, host: Host) -> str:
    """Name the cluster."""
    return cluster_of_host(host)


def vendor() -> str:
    """Return who made the cluster, as far as this host's files tell."""
    # Ceph's folder is closed to other users than its own: what cannot be looked at is as good as not there.
    return next((name for path, name in VENDOR_FILES.items() if os.access(path, os.F_OK)), "open-source")


def cluster_reason(cluster: Cluster, *, mgr_silent: bool) -> Reason | None:
    """Say what is not well with the cluster although it answers."""
    if mgr_silent or not cluster.mgrActive:
        details = "the active mgr does not answer" if cluster.mgrActive else "no mgr is active"
        return Reason(code=ReasonCode.MGR_DOWN, details=details)
    full = next((check.summary for check in cluster.checks if check.code == "OSD_FULL"), None)
    return Reason(code=ReasonCode.CLUSTER_FULL, details=full) if full is not None else None


def pool_reason(pools: Sequence[Pool], name: str) -> Reason | None:
    """Say what is not well with our pool."""
    pool = next((pool for pool in pools if pool.name == name), None)
    if pool is None:
        return None
    if pool.crushRoot and not pool.totalCapacity:
        fits = "that fits the rule {} of pool {} takes data" if pool.relatedOsds else "fits the rule {} of pool {}"
        return Reason(code=ReasonCode.POOL_WITHOUT_OSDS, details=f"no OSD {fits.format(pool.crushRule, name)}")
    return Reason(code=ReasonCode.POOL_FULL, details=f"pool {name} is full") if pool.full else None
