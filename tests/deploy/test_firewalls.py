"""The firewalls of the hosts: exactly one port to exactly the management nodes, and remove.yml leaves nothing."""

import re
from collections.abc import Callable

import pytest

from tests.beds.hosts import NETWORK, Host
from tests.deploy.api import Api
from tests.deploy.playbooks import Fleet
from tests.deploy.remains import remains

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

# The last one has firewalld too, which does not run when remove.yml comes.
FIREWALLS = ("nftables", "ufw", "firewalld", "stopped")
# The operator's own rules: SSH only, and something of theirs that must stay.
NFTABLES = """\
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iif lo accept
        tcp dport 22 accept
        tcp dport 9999 accept comment "theirs"
    }
    chain forward { type filter hook forward priority 0; policy accept; }
}
"""
# The bridge has an address of its own, which is not among the management nodes.
STRANGER = f"{NETWORK}.1"


def set_up(host: Host) -> None:
    """Turn on the firewall that the host is called after."""
    match host.name:
        case "nftables":
            host.write("/etc/nftables.conf", NFTABLES)
            host.run("systemctl enable --now nftables")
        case "ufw":
            host.run("ufw allow 22/tcp && ufw allow 9999/tcp comment theirs && ufw --force enable")
            host.run("systemctl enable --now ufw")
        case _:
            host.run("systemctl enable --now firewalld && firewall-cmd --permanent --add-port 9999/tcp")
            # At its second change firewalld puts the file as it was beside the new one.
            host.run("firewall-cmd --permanent --add-port 9997/tcp && firewall-cmd --reload")
            add_for_now(host)


def add_for_now(host: Host) -> None:
    """Open a port in firewalld that its next reload or start closes."""
    host.run("firewall-cmd --add-port 9998/tcp")


def rules(host: Host) -> str:
    """Return the rules as the firewall itself tells them."""
    match host.name:
        case "nftables":
            return host.output("nft list ruleset")
        case "ufw":
            return host.output("ufw status verbose; cat /etc/ufw/user.rules /etc/ufw/user6.rules")
        case _:
            return host.output("firewall-cmd --list-all; firewall-cmd --permanent --list-all-zones; nft list ruleset")


@pytest.fixture(scope="module")
def fleet(boot: Callable[..., Fleet]) -> Fleet:
    """Hosts with a firewall each; the tests go on where the one before ended."""
    fleet = boot("m", *FIREWALLS)
    fleet.management("m")
    for name in FIREWALLS:
        host = fleet.site.hosts[name]
        host.run("mkdir /images")
        set_up(host)
        fleet.agent(name, bs_agent_imagestores=[{"name": name, "directory": "/images"}])
    return fleet


@pytest.fixture(scope="module")
def before(fleet: Fleet) -> dict[str, list[str]]:
    """What was on the hosts before us."""
    return {name: remains(host) for name, host in fleet.site.hosts.items()}


@pytest.fixture(scope="module")
def rules_before(fleet: Fleet) -> dict[str, str]:
    return {name: rules(fleet.site.hosts[name]) for name in FIREWALLS}


def added(before: str, after: str) -> list[str]:
    """Return the lines that were added; none may be gone."""
    old, new = before.splitlines(), after.splitlines()
    assert [line for line in old if line not in new] == []
    return [line.strip() for line in new if line not in old]


def let_in(host: Host, source: Host | None, port: int = 7765) -> bool:
    """Tell whether the agent can be reached from a host, or from outside of all."""
    words = ["curl", "--silent", "--insecure", "--max-time", "5", f"https://{host.address}:{port}/livez"]
    if source:
        return source.run(*words, check=False).stdout.strip() == "ok"
    return host.site.output(*words).strip() == "ok"


def test_the_port_is_open_to_the_management_node_and_to_nobody_else(
    fleet: Fleet, before: dict[str, list[str]], rules_before: dict[str, str]
) -> None:
    fleet.site_yml()
    assert Api(fleet.site.hosts["m"]).statuses() == dict.fromkeys(FIREWALLS, "Connected")
    management = fleet.site.hosts["m"]
    for name in FIREWALLS:
        host = fleet.site.hosts[name]
        assert let_in(host, management)
        assert not let_in(host, None), f"{name} lets {STRANGER} in"
        new = added(rules_before[name], rules(host))
        assert new
        assert all(management.address in line and "7765" in line for line in new), new


def test_the_next_run_changes_nothing(fleet: Fleet) -> None:
    run = fleet.site_yml()
    assert not any(run.count(name, "changed") for name in ("m", *FIREWALLS)), run.changed


@pytest.mark.parametrize("verb", ["reload", "restart"])
def test_the_rule_survives_what_the_operator_does(fleet: Fleet, verb: str) -> None:
    # It has its name on the bus before its rules are in effect, and answers when they are.
    restart = "systemctl restart firewalld && firewall-cmd --state"
    for name, command in {
        "nftables": f"systemctl {verb} nftables",
        "ufw": "ufw reload" if verb == "reload" else "systemctl restart ufw",
        "firewalld": "firewall-cmd --reload" if verb == "reload" else restart,
    }.items():
        host = fleet.site.hosts[name]
        host.run(command)
        assert let_in(host, fleet.site.hosts["m"]), name
        assert not let_in(host, None), name


def test_another_management_node_takes_the_place_of_the_one_before(fleet: Fleet) -> None:
    run = fleet.site_yml(bs_agent_management_addresses=[STRANGER], bs_agent_register=False)
    assert all(run.count(name, "changed") for name in FIREWALLS)
    for name in FIREWALLS:
        host = fleet.site.hosts[name]
        assert let_in(host, None), name
        assert not let_in(host, fleet.site.hosts["m"]), name
        assert not re.search(rf"{re.escape(fleet.site.hosts['m'].address)}.*7765", rules(host))


def test_another_port_takes_the_place_of_the_one_before(fleet: Fleet) -> None:
    run = fleet.site_yml(
        bs_agent_management_addresses=[STRANGER], bs_agent_register=False, bs_agent_listen="0.0.0.0:7766"
    )
    assert all(run.count(name, "changed") for name in FIREWALLS)
    for name in FIREWALLS:
        host = fleet.site.hosts[name]
        assert let_in(host, None, 7766), name
        # The priority of our rules in firewalld is the same number.
        assert not re.search(r"port[ =\"]+7765|7765/tcp", rules(host)), name
        assert STRANGER in rules(host)


def test_remove_yml_leaves_nothing(fleet: Fleet, before: dict[str, list[str]], rules_before: dict[str, str]) -> None:
    fleet.site_yml()
    add_for_now(fleet.site.hosts["firewalld"])
    run = fleet.play("remove.yml", "--check")
    assert run.status == 0, run.output[-6000:]
    assert Api(fleet.site.hosts["m"]).statuses() == dict.fromkeys(FIREWALLS, "Connected")
    fleet.site.hosts["stopped"].run("systemctl stop firewalld")
    run = fleet.play("remove.yml")
    assert run.status == 0, run.output[-6000:]
    fleet.site.hosts["stopped"].run("systemctl start firewalld")
    add_for_now(fleet.site.hosts["stopped"])
    for name, host in fleet.site.hosts.items():
        assert remains(host) == before[name], name
    for name in FIREWALLS:
        assert rules(fleet.site.hosts[name]) == rules_before[name]
        assert fleet.site.hosts[name].output("ls -A /images") == ""


def test_removing_again_changes_nothing(fleet: Fleet) -> None:
    run = fleet.play("remove.yml")
    assert run.status == 0, run.output[-6000:]
    assert not any(run.count(name, "changed") for name in ("m", *FIREWALLS)), run.changed
