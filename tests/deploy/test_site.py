"""site.yml on booted hosts: from nothing to a running fleet, and nothing at all when there is nothing to do."""

import re
from collections import Counter
from collections.abc import Callable

import pytest

from tests.deploy.api import Api
from tests.deploy.playbooks import Fleet

pytestmark = pytest.mark.timeout(300)

AGENTS = ("a", "b", "c")
MOST_ON_MANAGEMENT, MOST_ON_AGENT = 10, 8


@pytest.fixture(scope="module")
def fleet(boot: Callable[..., Fleet]) -> Fleet:
    """A management node and three ImageStore hosts with nothing on them; the tests go on where the one before ended."""
    fleet = boot("m", *AGENTS)
    fleet.management("m")
    for name in AGENTS:
        fleet.site.hosts[name].run("mkdir /images")
        fleet.agent(name, bs_agent_imagestores=[{"name": f"images-{name}", "directory": "/images"}])
    return fleet


@pytest.fixture
def api(fleet: Fleet) -> Api:
    return Api(fleet.site.hosts["m"])


def changes(fleet: Fleet, *hosts: str, output: str) -> dict[str, int]:
    return {host: int(re.findall(rf"(?m)^{host} .*changed=(\d+)", output)[-1]) for host in hosts}


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "bs_agent_firewall",
            "maybe",
            "value of bs_agent_firewall must be one of: auto, firewalld, ufw, nftables, none",
        ),
        (
            "bs_agent_imagestores",
            [{"directory": "/images"}],
            "missing required arguments: name found in bs_agent_imagestores",
        ),
        (
            "bs_agent_login_port",
            "ssh",
            "argument 'bs_agent_login_port' is of type str and we were unable to convert to int",
        ),
    ],
)
def test_a_wrong_variable_is_refused_with_a_sentence(fleet: Fleet, variable: str, value: object, sentence: str) -> None:
    run = fleet.play("site.yml", "--limit", "a", **{variable: value})
    assert run.status != 0
    assert sentence in " ".join(run.output.split())
    assert fleet.site.hosts["a"].output("ls /opt /etc/bs-agent 2>&1; true") == (
        "ls: cannot access '/etc/bs-agent': No such file or directory\n/opt:"
    )


def test_check_mode_works_on_a_fresh_fleet_and_changes_nothing(fleet: Fleet) -> None:
    run = fleet.play("site.yml", "--check", "--diff")
    assert run.status == 0, run.output[-4000:]
    assert "+listen = " in run.output
    for name in ("m", *AGENTS):
        assert fleet.site.hosts[name].output("ls /opt; ls -d /etc/bs-* 2>&- ; id -u bs-agent 2>&-; true") == ""


def test_an_unreachable_host_does_not_stop_the_others_and_is_named(fleet: Fleet, api: Api) -> None:
    fleet.site.hosts["c"].cut()
    run = fleet.play("site.yml")
    alone = fleet.play("site.yml", "--limit", "c")
    fleet.site.hosts["c"].mend()
    assert run.status != 0
    assert alone.status != 0
    assert "Not done: c" in alone.output
    assert "Not done: c" in run.output.partition("PLAY [Say who did not]")[2]
    assert api.statuses() == {"images-a": "Connected", "images-b": "Connected"}


def test_the_next_run_completes_the_fleet_and_leaves_the_others_alone(fleet: Fleet, api: Api) -> None:
    run = fleet.site_yml()
    assert changes(fleet, "m", "a", "b", output=run.output) == {"m": 0, "a": 0, "b": 0}
    assert api.statuses() == dict.fromkeys(("images-a", "images-b", "images-c"), "Connected")
    assert api.storages()["images-c"]["totalCapacity"] > 0


def test_a_run_without_anything_to_do_changes_nothing_and_asks_little(fleet: Fleet) -> None:
    run = fleet.site_yml("-vvv")
    assert changes(fleet, "m", *AGENTS, output=run.output) == dict.fromkeys(("m", *AGENTS), 0)
    # Each execution of a module costs about the same, whatever it does: docs/operators.md says where the time goes.
    executions = Counter(re.findall(r"<([\d.]+)> SSH: EXEC", run.output))
    assert executions[fleet.site.hosts["m"].address] <= MOST_ON_MANAGEMENT
    for name in AGENTS:
        assert executions[fleet.site.hosts[name].address] <= MOST_ON_AGENT


BY_HAND = {
    "m": """
        echo '# by hand' >> /etc/bs-agent/management.toml
        chmod 0644 /etc/bs-agent/management.toml
        rm /usr/local/bin/bs-cli
        echo 'another password' | runuser -u bs-management -- /usr/local/bin/bs-management set-password admin
    """,
    "a": """
        sed -i s/7765/7766/ /etc/bs-agent/agent.toml /etc/systemd/system/bs-agent.socket.d/listen.conf
        setfacl --remove user:bs-agent /images
        usermod --comment somebody bs-agent
        echo 'root ALL=NOPASSWD: ALL' > /etc/sudoers.d/bs-agent
    """,
    "b": """
        echo '# by hand' >> /etc/systemd/system/bs-agent.service
        chown nobody /etc/systemd/system/bs-agent.socket
        ln -sfn /bin/true /usr/local/bin/bs-agent
        rm -r /etc/systemd/system/bs-agent.service.d
    """,
    "c": "systemctl disable --now bs-agent.service bs-agent.socket",
}


def laid(fleet: Fleet, name: str) -> str:
    """Return what the deployment laid on a host, with owners, modes and contents, and how the service is."""
    return fleet.site.hosts[name].output(
        """
        find /etc/bs-agent /etc/systemd/system /etc/sudoers.d /usr/local/bin -printf '%p %u %g %m %l\\n' | sort
        sha256sum /etc/bs-agent/*.toml /etc/systemd/system/bs-*.*
        getent passwd bs-agent; getfacl --absolute-names /images
        systemctl is-active bs-agent bs-agent.socket; systemctl is-enabled bs-agent bs-agent.socket; true
        """
    )


def test_what_was_changed_by_hand_is_put_back(fleet: Fleet, api: Api) -> None:
    before = {name: laid(fleet, name) for name in BY_HAND}
    running = fleet.site.hosts["b"].output("systemctl show bs-agent --property=MainPID --value")
    for name, commands in BY_HAND.items():
        fleet.site.hosts[name].run("sh", stdin=commands)
        assert laid(fleet, name) != before[name]
    run = fleet.site_yml()
    assert {name: laid(fleet, name) for name in BY_HAND} == before
    # What the service reads at its start was changed, and put back: it runs with what is right.
    assert fleet.site.hosts["b"].output("systemctl show bs-agent --property=MainPID --value") != running
    assert all(run.count(name, "changed") for name in BY_HAND)
    assert set(api.statuses().values()) == {"Connected"}


def test_check_mode_shows_what_a_change_would_do(fleet: Fleet) -> None:
    wanted = {"bs_agent_settings": {"probe": {"interval": 7, "deadline": 5}}}
    run = fleet.play("site.yml", "--check", "--diff", "--limit", "a", **wanted)
    assert run.status == 0, run.output[-4000:]
    assert "+interval = 7" in run.output
    assert "interval" not in fleet.site.hosts["a"].output("cat /etc/bs-agent/agent.toml")


def test_a_change_takes_effect_once(fleet: Fleet, api: Api) -> None:
    wanted = {"bs_agent_settings": {"probe": {"interval": 7, "deadline": 5}}}
    host = fleet.site.hosts["a"]
    before = host.output("systemctl show bs-agent --property=MainPID --value")
    run = fleet.site_yml("--limit", "a,m", **wanted)
    assert "bs_agent : Lay its files" in run.changed
    after = host.output("systemctl show bs-agent --property=MainPID --value")
    assert after != before
    fleet.site_yml("--limit", "a,m", **wanted)
    assert host.output("systemctl show bs-agent --property=MainPID --value") == after
    assert api.statuses()["images-a"] == "Connected"


def test_a_value_that_the_agent_refuses_changes_nothing(fleet: Fleet) -> None:
    run = fleet.play("site.yml", "--limit", "a", bs_agent_settings={"probe": {"interval": -1}})
    assert run.status != 0
    assert "probe.interval" in run.output
    assert "interval = 7" in fleet.site.hosts["a"].output("cat /etc/bs-agent/agent.toml")


def test_status_says_how_every_host_is(fleet: Fleet) -> None:
    run = fleet.play("status.yml")
    assert run.status == 0, run.output[-4000:]
    assert len(re.findall(r"ok +directory +/images is well", run.output)) == len(AGENTS)
    assert "FAIL" not in run.output


def test_releases_that_the_distributions_new_python_cannot_run_are_made_anew(fleet: Fleet, api: Api) -> None:
    """As after an upgrade of the distribution: the modules lie where only the Python before looks for them."""
    hosts = fleet.site.hosts
    for name, program in (("m", "bs-management"), ("a", "bs-agent"), ("b", "bs-agent")):
        hosts[name].run(f"mv /opt/{program}/current/lib/python3.11 /opt/{program}/current/lib/python3.10")
        assert hosts[name].run(f"/usr/local/bin/{program} --version", check=False).returncode != 0
    hosts["b"].run("systemctl restart bs-agent", check=False)
    running = hosts["a"].output("systemctl show bs-agent --property=MainPID --value")
    run = fleet.site_yml()
    assert changes(fleet, "c", output=run.output) == {"c": 0}
    for name, program in (("m", "bs-management"), ("a", "bs-agent"), ("b", "bs-agent")):
        hosts[name].run(f"/usr/local/bin/{program} --version && systemctl is-active {program}")
    assert hosts["a"].output("systemctl show bs-agent --property=MainPID --value") != running, "it ran on what is gone"
    assert api.statuses() == dict.fromkeys(("images-a", "images-b", "images-c"), "Connected")
    again = fleet.site_yml()
    assert changes(fleet, "m", *AGENTS, output=again.output) == dict.fromkeys(("m", *AGENTS), 0)
