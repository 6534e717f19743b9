"""What we change on a Ceph cluster: the pool that an add makes, the object of the write probe, and the end of both.

A pool that we made carries our mark, so every agent knows it as ours, whatever becomes of the one that made it.
A pool is known again by its number, which the cluster gives to no other one; its name may be given to another.
"""

import errno
from contextlib import suppress
from typing import Any

from bs_agent.agent.storages.ceph_answers import OSD_DUMP, OsdDump, OsdPool
from bs_agent.agent.storages.ceph_link import CephLink, CommandError
from bs_agent.contract.errors import StorageProblem
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import Step

APPLICATION = "rbd"
MARK = "bs-agent"
# Before Ceph 15 a pool cannot be made without a number; the autoscaler changes it.
FIRST_PG_NUM = 32

# What a pool is for while it is made, as long as it has no mark.
STAGES: tuple[dict[str, dict[str, str]], ...] = ({}, {APPLICATION: {}})

REMOVE_OBJECT, REMOVE_POOL, REMOVE_MARK = "removeObject", "removePool", "removeMark"


class CephPool:
    """The pool of one storage; `number` is None until it was seen."""

    def __init__(self, link: CephLink, name: str, storage: str, number: int | None) -> None:
        self._link = link
        self._name = name
        self._storage = storage
        self._object = f"bs-agent.write-probe.{storage}"
        self.number = number

    def named(self, dump: OsdDump) -> OsdPool | None:
        """Return the pool of exactly this name, or None."""
        return next((pool for pool in dump.pools if pool.pool_name == self._name), None)

    def find(self, dump: OsdDump) -> OsdPool | None:
        """Return our pool, whatever its name is by now, or None."""
        if self.number is None:
            return self.named(dump)
        return next((pool for pool in dump.pools if pool.pool == self.number), None)

    def strayed(self, dump: OsdDump) -> Reason | None:
        """Say why the pool of this name is not our pool; None where it is."""
        named, ours = self.named(dump), self.find(dump)
        if named and named == ours:
            return None
        renamed = f"pool {self.number} is called {ours.pool_name} now" if ours else ""
        if named is None:
            details = f"the cluster has no pool {self._name}"
            return Reason(code=ReasonCode.POOL_MISSING, details=f"{details}; {renamed}" if renamed else details)
        details = f"pool {self._name} is number {named.pool}, not {self.number}"
        return Reason(
            code=ReasonCode.POOL_REPLACED, details=f"{details}; {renamed or f'there is no pool {self.number}'}"
        )

    async def dump_again(self) -> OsdDump:
        """Return the OSD map as the leader of the mons has it by now.

        What another mon tells may be as old as its lease, 5 s. The answer to a change comes from the leader, through
        this mon, and behind all that the leader has decided before; here it is the answer to one that changes nothing.
        """
        with suppress(StorageProblem):  # it may be refused: there is no pool, or the client may not do that
            await self._link.command(
                prefix="osd pool application rm", pool=self._name, app=APPLICATION, key=f"{MARK}.none"
            )
        return (await self._link.ask(OSD_DUMP)).read(OSD_DUMP)

    async def make(self, *, new: bool) -> None:
        """Make the pool, for RBD and with the autoscaler; what an interrupted make left is taken up: it is not `new`.

        Raises:
            StorageProblem: the cluster refuses; then there is no new pool, unless it does not let go of one either.
        """
        try:
            await self._link.command(prefix="osd pool create", pool=self._name)
        except CommandError as error:
            if error.number != errno.EINVAL:
                raise
            await self._link.command(prefix="osd pool create", pool=self._name, pg_num=FIRST_PG_NUM)
        try:
            await self._link.command(prefix="osd pool set", pool=self._name, var="pg_autoscale_mode", val="on")
            await self._link.command(prefix="osd pool application enable", pool=self._name, app=APPLICATION)
            await self._link.command(
                prefix="osd pool application set", pool=self._name, app=APPLICATION, key=MARK, value=self._storage
            )
        except StorageProblem as error:
            try:
                await self.unmake(new=new)
            except StorageProblem as kept:
                details = f"{error.details}; the new pool {self._name} stays: {kept.details}"
                raise StorageProblem.of(error.reason.code, details) from None
            raise

    async def unmake(self, *, new: bool) -> None:
        """Undo `make`: a pool that was new goes, if it holds nothing, and one that was taken up loses our mark.

        Raises:
            StorageProblem: the cluster refuses.
        """
        pool = self.find(await self.dump_again())
        if pool is None or not (self.is_ours(pool) or (new and pool.application_metadata in STAGES)):
            return
        await (self._remove_empty(pool) if new else self._remove_mark(pool))

    def is_unfinished(self, pool: OsdPool) -> bool:
        """Tell whether the pool looks like one whose making was interrupted: nobody has said what it is for."""
        return not pool.application_metadata

    def is_ours(self, pool: OsdPool) -> bool:
        """Tell whether the pool carries our mark."""
        return pool.application_metadata.get(APPLICATION, {}).get(MARK) == self._storage

    async def write_probe(self) -> float:
        """Write and remove one small object of ours; return the seconds that took.

        Raises:
            StorageProblem: it failed; the object may be there, and the next probe or the cleanup removes it.
        """
        try:
            seconds: float = await self._link.call("ceph_write", **self._place())
        except StorageProblem as error:
            if error.reason.code not in {ReasonCode.CLUSTER_UNREACHABLE, ReasonCode.CEPH_FAULT}:
                raise
            raise StorageProblem.of(ReasonCode.WRITE_PROBE_FAILED, error.details) from None
        return seconds

    async def remove_object(self) -> None:
        """Remove the object of the write probe, if it is there.

        Raises:
            StorageProblem: it cannot be removed.
        """
        await self._link.call("ceph_remove", **self._place())

    async def leftovers(self, pool: OsdPool, *, remove_pool: bool) -> list[Step]:
        """Return the steps that remove what is ours; a pool that is not ours or holds anything else is kept.

        Raises:
            StorageProblem: the cluster does not tell what the pool holds.
        """
        found = await self._link.call("ceph_objects", **self._place(pool))
        steps = [Step(action=REMOVE_OBJECT, target=f"{pool.pool_name}/{self._object}")] if found["ours"] else []
        if self.is_ours(pool):
            removable = remove_pool and not found["others"]
            steps.append(Step(action=REMOVE_POOL if removable else REMOVE_MARK, target=pool.pool_name))
        return steps

    async def clean(self, step: Step) -> None:
        """Do one of those steps, if there is still something to do.

        Raises:
            StorageProblem: it cannot be done, or must not be done any more.
        """
        pool = self.find((await self._link.ask(OSD_DUMP)).read(OSD_DUMP))
        if pool is None:
            return
        if step.action == REMOVE_OBJECT:
            await self.remove_object()
        elif self.is_ours(pool):
            await (self._remove_empty(pool) if step.action == REMOVE_POOL else self._remove_mark(pool))

    def _place(self, pool: OsdPool | None = None) -> dict[str, Any]:
        """Return where our object is, for the worker: in a pool by its number, unless that was never seen."""
        name, number = (pool.pool_name, pool.pool) if pool else (self._name, self.number)
        return {"pool": name, "number": number, "name": self._object}

    async def _remove_empty(self, pool: OsdPool) -> None:
        found = await self._link.call("ceph_objects", **self._place(pool))
        if found["others"]:
            raise StorageProblem.of(ReasonCode.CEPH_FAULT, f"pool {pool.pool_name} holds objects and is kept")
        name = pool.pool_name
        await self._link.command(prefix="osd pool delete", pool=name, pool2=name, yes_i_really_really_mean_it=True)

    async def _remove_mark(self, pool: OsdPool) -> None:
        await self._link.command(prefix="osd pool application rm", pool=pool.pool_name, app=APPLICATION, key=MARK)
