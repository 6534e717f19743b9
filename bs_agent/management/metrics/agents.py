"""The metrics of the agents that this node polls: whether and when they answered, who they are, what they are owed."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from bs_agent.management.metrics.lines import Gauges, labels, written
from bs_agent.management.model.figures import Figures
from bs_agent.management.polling.watches import Watch

MOST = 20_000
"""Agents that have metrics of their own."""
_AT_ONCE = 500
_MOST_VERSIONS = 20
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+~-]{0,31}")
OTHER = "other"

Seen = Mapping[str, Figures]
"""What was seen last of storages, by uuid."""


async def agents(watches: Iterable[Watch], max_failures: int) -> list[bytes]:
    """Return the metrics of the agents as text; other work goes on in between."""
    watched = list(watches)
    versions = _versions(watched)
    by_version = Gauges("bs_management_agents", "The agents that this node polls, by the version that they report.")
    for version, count in sorted(Counter(versions.values()).items()):
        by_version.add(labels(version=version), count)
    info = Gauges("bs_management_agent_info", "What the agent is: where it is reached, and its version.")
    up = Gauges("bs_management_agent_up", "0 when the agent has missed so many polls that its hosts are Disconnected.")
    reason = Gauges("bs_management_agent_reason", "1 with the code of why the agent has missed its last poll.")
    age = Gauges("bs_management_agent_answer_age_seconds", "How long ago the agent answered a poll.")
    skew = Gauges("bs_management_agent_clock_offset_seconds", "How far the clock of the agent's host is ahead of here.")
    owed = Gauges("bs_management_agent_owed", "Whether the agent is owed a clean-up or a forgetting that is due.")
    hosts = Gauges("bs_management_agent_storages", "The storages behind the agent.")
    ends = Gauges("bs_management_agent_certificate_not_after_timestamp_seconds", "When the agent's certificate ends.")
    now = asyncio.get_running_loop().time
    for at, watch in enumerate(watched[:MOST]):
        if at % _AT_ONCE == 0:
            await asyncio.sleep(0)
        mine, shown = labels(agent=watch.uuid), watch.shown
        told = labels(address=watch.target.name, version=versions[watch.uuid])
        info.add(f"{mine},{told}", 1)
        up.add(mine, int(not watch.link.is_down(max_failures)))
        if watch.link.reason:
            reason.add(f"{mine},{labels(reason=watch.link.reason.code)}", 1)
        age.add(mine, now() - shown.answered_at if shown.answered_at is not None else None)
        skew.add(mine, shown.clock_offset)
        owed.add(mine, int(watch.seen.owed))
        hosts.add(mine, len(watch.seen.hosts))
        ends.add(mine, shown.certificate_end or watch.seen.record.certificateEndDate)
    return written([by_version, info, up, reason, age, skew, owed, hosts, ends])


def seen(watches: Iterable[Watch]) -> Seen:
    """Return what the agents have said last of their storages, by uuid.

    Of several hosts of one storage those that answer say more, and of these the one that sees more mons in the quorum.
    """
    found: dict[str, tuple[bool, int, Figures]] = {}
    for watch in watches:
        answers = not watch.link.misses
        for uuid in (host.storage_uuid for host in watch.seen.hosts):  # of others it says nothing that counts
            if figures := watch.shown.storages.get(uuid):
                told = (answers, figures.mons_in_quorum or 0, figures)
                if uuid not in found or told[:2] > found[uuid][:2]:
                    found[uuid] = told
    return {uuid: figures for uuid, (_, _, figures) in found.items()}


def _versions(watches: Iterable[Watch]) -> dict[str, str]:
    """Return the version of each agent; an agent says what it likes, so odd ones and rare ones are all `other`."""
    said = {watch.uuid: watch.shown.version or watch.seen.record.version or "" for watch in watches}
    told = {uuid: version if _VERSION.fullmatch(version) else OTHER for uuid, version in said.items()}
    common = {version for version, _ in Counter(told.values()).most_common(_MOST_VERSIONS)}
    return {uuid: version if version in common else OTHER for uuid, version in told.items()}
