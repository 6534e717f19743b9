"""How the polls of this node's agents go: kept until the next round of writing, the newer in the place of the older.

What has changed is written by the next round; that another poll went as the one before, by one a minute.
"""

import asyncio
import logging

from bs_agent.contract.inventory import Status
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.management.model.health import two_machines
from bs_agent.management.polling.watches import Noted, Watch, Watches
from bs_agent.management.store.database import Database, DatabaseUnavailable
from bs_agent.management.store.polled import Polled, write_polled

log = logging.getLogger(__name__)

_SKEWED = 2.0
"""Seconds by which a clock must have moved to be told from answers that are dated in whole seconds."""
_DATED = 60.0
"""Seconds after which the dates of polls are written that have shown nothing new."""


class Heard:
    """Which agents have been heard of, or missed, since the last round."""

    def __init__(self, database: Database, owner: str, watches: Watches) -> None:
        self._database = database
        self._owner = owner
        self._watches = watches
        self._new: set[str] = set()
        self._dated_at: float | None = None

    def note(self, watch: Watch) -> None:
        """Have written how an agent's last poll went."""
        self._new.add(watch.uuid)

    async def write(self, max_failures: int) -> None:
        """Write what is new; while the database is away nothing is lost."""
        now = asyncio.get_running_loop().time()
        if self._dated_at is None:
            self._dated_at = now
        is_time = now - self._dated_at >= _DATED
        watches = [watch for watch in map(self._watches.find, self._new) if watch]
        self._new = {watch.uuid for watch in watches}
        states = {watch.uuid: _state(watch, max_failures) for watch in watches}
        due = [watch for watch in watches if is_time or watch.noted != states[watch.uuid]]
        if not due:
            return
        self._new.difference_update(watch.uuid for watch in due)
        try:
            await write_polled(self._database, self._owner, [_polled(watch, now, states[watch.uuid]) for watch in due])
        except DatabaseUnavailable as error:
            self._new |= {watch.uuid for watch in due}
            log.debug("how the polls go is not written yet: %s", error.details)
            return
        self._dated_at = now if is_time else self._dated_at
        for watch in due:
            watch.noted = states[watch.uuid]


def _state(watch: Watch, max_failures: int) -> Noted:
    status: Status = "Connected"
    reason: Reason | None = watch.link.reason
    if watch.boots.are_two:
        status, reason = "Disconnected", Reason(code=ReasonCode.AGENT_CLONED, details=two_machines(watch.target.name))
    elif watch.link.is_down(max_failures):
        status = "Disconnected"
    skew = watch.shown.clock_offset
    before = watch.noted.skew if watch.noted else None
    if skew is not None and before is not None and abs(skew - before) < _SKEWED:
        skew = before
    shown = watch.shown
    return Noted(status, reason, watch.link.misses, skew, watch.pushed_at, shown.version, shown.certificate_end)


def _polled(watch: Watch, now: float, state: Noted) -> Polled:
    push_age = None if state.pushed_at is None else now - state.pushed_at
    known = (state.skew, push_age, state.version, state.certificate_end)
    return Polled(watch.uuid, now - watch.heard_at, state.status, state.reason, state.misses, *known)
