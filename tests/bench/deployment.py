"""site.yml on 1, 3 and 8 booted hosts: fresh, unchanged and upgrade, beside what Ansible needs to connect alone.

Every fleet has a management node on a host of its own and an ImageStore on each of the others. `--hosts 1,3` measures
fewer. What connecting costs is told by Ansible's own `ping` on the same hosts, in the same minute. Where the time goes
is told for the largest fleet: the tasks that took longest, and how many there were.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.beds import hosts
from tests.bench.figures import Beside, Figure, at_most, tell
from tests.deploy.playbooks import Fleet
from tests.deploy.releases import Wheelhouse

UPGRADE = "0.10.0"
# The budget is "a few seconds": on two cores, which all the hosts and Ansible share.
BUDGET_UNCHANGED = 5.0
SHOWN = 8
REPEATS = 3


@dataclass
class Timing:
    """How long a run took, as a whole and by task."""

    seconds: float
    tasks: dict[str, float] = field(default_factory=dict)
    count: int = 0


@dataclass
class Measured:
    """The runs of one fleet, and how often an unchanged one executes something on each host."""

    runs: dict[str, Timing]
    executions: Counter[str]


def timed(fleet: Fleet, folder: Path, playbook: str, *arguments: str, **variables: object) -> Timing:
    """Run a playbook, which must succeed, and read what the callback has written about its tasks."""
    times = folder / f"times-{time.monotonic_ns()}"
    fleet.environment["TASK_TIMES"] = str(times)
    began = time.monotonic()
    run = fleet.play(playbook, *arguments, **variables)
    timing = Timing(time.monotonic() - began)
    if run.status:
        raise RuntimeError(run.output[-4000:])
    tasks: dict[str, float] = defaultdict(float)
    for line in times.read_text().splitlines():
        entry = json.loads(line)
        tasks[entry["task"]] += entry["seconds"]
        timing.count += 1
    timing.tasks = dict(sorted(tasks.items(), key=lambda item: -item[1]))
    return timing


def pinged(fleet: Fleet) -> Timing:
    """Measure what Ansible needs to start, to connect to every host and to execute one module there."""
    began = time.monotonic()
    run = fleet.ping()
    if run.status:
        raise RuntimeError(run.output[-4000:])
    return Timing(time.monotonic() - began, count=1)


def medians(**measurements: Callable[[], Timing]) -> dict[str, Timing]:
    """Repeat what changes nothing, in turns, and return the run in the middle of each."""
    rounds = [{name: measure_once() for name, measure_once in measurements.items()} for _ in range(REPEATS)]
    ordered = {name: sorted([turn[name] for turn in rounds], key=lambda timing: timing.seconds) for name in rounds[0]}
    return {name: timings[REPEATS // 2] for name, timings in ordered.items()}


def executions(fleet: Fleet) -> Counter[str]:
    """Count what an unchanged run executes on each host: every module, and every item of a loop, is one execution."""
    output = fleet.play("site.yml", "-vvv").output
    names = {host.address: name for name, host in fleet.site.hosts.items()}
    return Counter(names[address] for address in re.findall(r"<([\d.]+)> SSH: EXEC", output))


def measure(number: int, wheelhouse: Wheelhouse, folder: Path) -> Measured:
    """Boot a fleet of so many storage hosts and measure the four runs."""
    names = [f"s{index}" for index in range(1, number + 1)]
    # As on hosts that know nothing of tests: neither they nor Ansible remember what was packed or compiled before.
    with hosts.booted(folder, "m", *names, remember=False) as site:
        fleet = Fleet(site, wheelhouse, folder)
        fleet.call_back("task_times")
        fleet.management("m")
        for name in names:
            site.hosts[name].run("mkdir /images")
            fleet.agent(name, bs_agent_imagestores=[{"name": name, "directory": "/images"}])
        timed(fleet, folder, "site.yml", "--limit", "m")
        runs = {"fresh": timed(fleet, folder, "site.yml")}
        runs |= medians(unchanged=lambda: timed(fleet, folder, "site.yml"), ping=lambda: pinged(fleet))
        counted = executions(fleet)
        runs["upgrade"] = timed(fleet, folder, "upgrade.yml", bs_agent_version=UPGRADE)
        return Measured(runs, counted)


def main() -> int:
    """Measure, tell the figures, and print where the time goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hosts", default="1,3,8", help="numbers of storage hosts")
    numbers = [int(number) for number in parser.parse_args().hosts.split(",")]
    if hosts.MISSING:
        print(f"booted hosts need {', '.join(hosts.MISSING)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheelhouse = Wheelhouse(folder / "archives", folder / "releases")
        wheelhouse.build(UPGRADE)
        measured = {}
        for number in numbers:
            (folder / f"site-{number}").mkdir()
            measured[number] = measure(number, wheelhouse, folder / f"site-{number}")
            print(f"{number} storage hosts: measured", file=sys.stderr)
    kept = tell_runs(measured)
    print_tasks(measured[max(numbers)].runs)
    print_executions(measured[max(numbers)].executions)
    return 0 if kept else 1


def tell_runs(measured: dict[int, Measured]) -> bool:
    """Print the tasks of each run, and tell its seconds; tell whether the unchanged run keeps the budget."""
    kept = True
    for number, fleet in measured.items():
        ping = fleet.runs["ping"].seconds
        for name, timing in fleet.runs.items():
            print(f"{number} storage hosts, {name}: {timing.seconds:.1f} s in {timing.count} tasks")
        kept &= tell(
            *(
                Figure(
                    name=f"site of {number} hosts, {name}, for each",
                    value=(timing.seconds - ping) / number,
                    unit="s beyond it",
                    peer=Beside(name="Ansible's ping", value=ping / number),
                    budget=at_most(BUDGET_UNCHANGED) if name == "unchanged" else None,
                )
                for name, timing in fleet.runs.items()
                if name != "ping"
            )
        )
    return kept


def print_tasks(runs: dict[str, Timing]) -> None:
    """Print where the time of each run goes."""
    for name, timing in runs.items():
        longest = list(timing.tasks.items())[:SHOWN]
        rest = timing.seconds - sum(seconds for _, seconds in longest)
        print(f"\n{name}: {timing.seconds:.1f} s in {timing.count} tasks")
        for task, seconds in [*longest, ("all others", rest)]:
            print(f"  {seconds:6.1f} s  {task}")


def print_executions(counted: Counter[str]) -> None:
    """Print how often an unchanged run executes something on each host."""
    told = ", ".join(f"{count} on {name}" for name, count in sorted(counted.items()))
    print(f"\nexecutions of an unchanged run, the ping's one among them: {told}")


if __name__ == "__main__":
    sys.exit(main())
