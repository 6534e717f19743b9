"""A run that is killed in the middle of any task that changes something, and started again, ends where it should."""

import json
import re
import signal
from collections.abc import Callable

import pytest

from tests.deploy.api import Api
from tests.deploy.playbooks import Fleet, Run

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def fleet(boot: Callable[..., Fleet]) -> Fleet:
    fleet = boot("m", "a", "b")
    fleet.management("m")
    for name in ("a", "b"):
        fleet.site.hosts[name].run("mkdir /images")
        fleet.agent(name, bs_agent_imagestores=[{"name": f"images-{name}", "directory": "/images"}])
    return fleet


def tree(fleet: Fleet, name: str) -> str:
    """Return what the deployment leaves on a host: names, owners, modes, and contents where they do not vary."""
    places = "/opt/bs-agent /etc/bs-agent /etc/systemd/system /usr/local /etc/sudoers.d"
    listing = (
        f"find {places} -not -path '*/__pycache__*' -printf '%p %u %g %m %y %l\\n' | sort; "
        "sha256sum /etc/bs-agent/* /etc/systemd/system/bs-agent.*; getfacl -p /images"
    )
    return fleet.site.hosts[name].output(listing)


def test_a_run_killed_at_any_changing_task_is_completed_by_the_next(fleet: Fleet) -> None:
    reference = fleet.site_yml("--limit", "m,a")
    agents = reference.output.partition("PLAY [Run the agents]")[2]
    changing = re.findall(r"(?m)^TASK \[(.*?)\] \**\n(?:changed: \[a)", agents)
    assert len(changing) > 5
    fleet.call_back("kill_at", KILL_ON="b", KILL_AT="[]")
    # Each run is killed at the first task that changes something and that no run was killed at: those of a new host,
    # and those that only a killed run makes necessary. In the end one comes through.
    left, killed = set(changing), list[str]()
    while (run := killed_at(fleet, left)).status:
        assert run.status == -signal.SIGKILL, f"{killed[-1:]}: {run.output[-3000:]}"
        killed += re.findall(r"(?m)^TASK \[(.*?)\] \*", run.output)[-1:]
        assert killed[-1] in left
        left = (left | set(run.changed)) - set(killed)
    print(f"killed at {len(killed)} tasks: {', '.join(killed)}")
    assert set(changing) <= set(killed)
    assert tree(fleet, "b") == tree(fleet, "a")
    assert Api(fleet.site.hosts["m"]).statuses() == {"images-a": "Connected", "images-b": "Connected"}
    again = killed_at(fleet, set())
    assert (again.status, again.count("b", "changed")) == (0, 0), again.output[-3000:]


def killed_at(fleet: Fleet, tasks: set[str]) -> Run:
    """Run the deployment of one host until it comes to one of these tasks."""
    fleet.environment["KILL_AT"] = json.dumps(sorted(tasks))
    return fleet.play("site.yml", "--limit", "b")
