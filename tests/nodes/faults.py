"""What befalls a node, and how it is over: killed and started again, asleep and awake, cut off and back."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.nodes.cluster import LEASE, Cluster, Node, eventually
from tests.nodes.traffic import Traffic


@dataclass(frozen=True)
class Fault:
    """One thing that may befall a node, and what ends it."""

    name: str
    befall: Callable[[Node], None]
    end: Callable[[Cluster, Node], Awaitable[None]]


async def _start_again(cluster: Cluster, node: Node) -> None:
    await asyncio.to_thread(node.process.stop)
    await cluster.start(node)


async def _wake(_: Cluster, node: Node) -> None:
    node.process.signal(signal.SIGCONT)


async def _plug(_: Cluster, node: Node) -> None:
    node.cable.plug()


FAULTS = (
    Fault("kill -9", lambda node: node.process.signal(signal.SIGKILL), _start_again),
    Fault("SIGSTOP past the lease, SIGCONT", lambda node: node.process.signal(signal.SIGSTOP), _wake),
    Fault("network cut past the lease", lambda node: node.cable.pull(), _plug),
)


async def befall(cluster: Cluster, fault: Fault, node: Node) -> float:
    """Let something befall a node; return after how many seconds its agents were all polled again by others.

    It is over when this returns, and the node polls its share.
    """
    others = [other for other in cluster.nodes if other is not node]
    its = await cluster.polled_by(node)
    fault.befall(node)
    since = time.monotonic() + 0.2  # what it had asked just before may be answered just after

    async def are_polled() -> bool:
        # One whose storage is deleted meanwhile is polled no more, until it is added again.
        return all(agent.polled_at > since or not agent.storages for agent in its)

    seconds = await eventually(are_polled)
    await eventually(lambda: cluster.is_fair(others))
    await asyncio.sleep(max(0.0, since + 1.5 * LEASE - time.monotonic()))
    await fault.end(cluster, node)
    await eventually(lambda: cluster.is_fair(cluster.nodes), cluster.shares)
    return seconds


async def in_the_middle(traffic: Traffic, calls: int, fault: Fault, node: Node) -> float:
    """Let something befall a node when a quarter of so many calls have ended; return as `befall` does."""
    cluster = traffic.cluster
    wanted = traffic.ended + calls // 4
    running = asyncio.create_task(traffic.run(traffic.ended + calls, cluster.agents))

    async def is_time() -> bool:
        return traffic.ended >= wanted or running.done()

    await eventually(is_time)
    seconds = await befall(cluster, fault, node)
    await running
    return seconds


async def check(traffic: Traffic) -> None:
    """See that nothing was lost, and nothing done twice; each agent serves its storage in the end."""
    cluster = traffic.cluster
    await traffic.settle(cluster.agents)

    async def is_nothing_left() -> bool:
        return not await cluster.left_over()

    await eventually(is_nothing_left, cluster.left_over)
    known = await cluster.enrolled()
    for agent in cluster.agents:
        assert [*agent.storages] == [agent.machine.uuid], agent.machine.name
        enrolment = known[agent.machine.fingerprint]
        assert enrolment in agent.enrolments
        # Of an add that was cut short nobody may have known by which code it went.
        assert not agent.enrolments.keys() - agent.in_vain - {enrolment}, agent.machine.name
        twice = {done: times for done, times in agent.done.items() if times > 1}
        connects = {number for what, _, number in twice if what == "connect"}
        assert not {done for done in twice if done[0] == "clean"}, twice
        assert len(connects) == len(twice)
    for job, well in traffic.jobs.items():
        assert set(cluster.hooks.get(job, [])) == {well}, f"the web hook of job {job} says {cluster.hooks.get(job)}"
