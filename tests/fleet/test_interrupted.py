"""A run that is killed in the middle of any task that changes something, and started again, ends where it should."""

import re
import signal
from collections.abc import Callable

import pytest

from tests.fleet.api import Api
from tests.fleet.playbooks import Fleet
from tests.fleet.releases import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


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
    assert len(changing) > 12
    fleet.environment |= {
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/fleet/callbacks"),
        "ANSIBLE_CALLBACKS_ENABLED": "kill_at",
        "KILL_ON": "b",
    }
    for task in changing:
        fleet.environment["KILL_AT"] = task
        run = fleet.play("site.yml", "--limit", "b")
        assert run.status == -signal.SIGKILL, f"{task}: {run.output[-3000:]}"
    fleet.environment["KILL_AT"] = ""
    fleet.site_yml("--limit", "b")
    assert tree(fleet, "b") == tree(fleet, "a")
    assert Api(fleet.site.hosts["m"]).statuses() == {"images-a": "Connected", "images-b": "Connected"}
    again = fleet.site_yml()
    assert [again.count(name, "changed") for name in ("m", "a", "b")] == [0, 0, 0]
