"""Mons and their addresses, from the answers of a live cluster and from address forms of other sites."""

import pytest

from bs_agent.agent.storages import ceph_answers
from bs_agent.agent.storages.ceph_answers import MapMon, QuorumStatus
from bs_agent.agent.storages.ceph_mons import addresses_of, listens_on, local_mon_of, mons_of, shown, split_address
from bs_agent.contract.report import MonAddress
from tests.ceph.captured import RELEASES, answer


@pytest.mark.parametrize("release", RELEASES)
class TestLiveCluster:
    def test_every_mon_has_rank_addresses_quorum_and_version(self, release: str) -> None:
        mons = mons_of(
            answer(release, "healthy", "quorum_status", ceph_answers.QUORUM_STATUS),
            answer(release, "healthy", "mon_metadata", ceph_answers.MON_METADATA),
        )
        assert [(mon.rank, mon.name, mon.inQuorum, mon.leader) for mon in mons] == [
            (0, "a", True, True),
            (1, "b", True, False),
            (2, "c", True, False),
        ]
        for number, mon in enumerate(mons, start=1):
            assert [address.type for address in mon.addresses] == ["v2", "v1"]
            assert {split_address(address.address)[0] for address in mon.addresses} == {f"127.0.0.{number}"}
            assert mon.version.startswith(release + ".")

    def test_a_dead_mon_is_out_of_quorum_and_keeps_its_place(self, release: str) -> None:
        mons = mons_of(
            answer(release, "broken", "quorum_status", ceph_answers.QUORUM_STATUS),
            answer(release, "broken", "mon_metadata", ceph_answers.MON_METADATA),
        )
        assert [(mon.name, mon.inQuorum) for mon in mons] == [("a", True), ("b", True), ("c", False)]

    def test_the_local_mon_speaks_for_itself(self, release: str) -> None:
        mon = local_mon_of(
            answer(release, "healthy", "socket_mon_status", ceph_answers.MON_STATUS),
            answer(release, "healthy", "socket_version", ceph_answers.MON_VERSION),
        )
        assert (mon.name, mon.state, mon.rank, len(mon.addresses)) == ("a", "leader", 0, 2)
        assert mon.version.startswith(release + ".")


def test_without_quorum_nobody_leads() -> None:
    status = QuorumStatus.model_validate({"quorum": [], "monmap": {"mons": [{"rank": 0, "name": ""}]}})
    (mon,) = mons_of(status, [])
    assert (mon.inQuorum, mon.leader, mon.addresses, mon.version) == (False, False, [], "")


def test_before_address_vectors_there_is_one_address() -> None:
    mon = MapMon.model_validate({"rank": 0, "name": "a", "addr": "10.0.0.1:6789/0"})
    assert addresses_of(mon) == [MonAddress(type="v1", address="10.0.0.1:6789")]


def test_an_address_vector_may_hold_both_families_and_any() -> None:
    vector = [
        {"type": "v2", "addr": "[fd00::1]:3300", "nonce": 0},
        {"type": "any", "addr": "10.0.0.1:6789/0", "nonce": 0},
    ]
    mon = MapMon.model_validate({"rank": 0, "name": "a", "public_addrs": {"addrvec": vector}, "addr": "-"})
    assert shown(addresses_of(mon)) == "[v2:[fd00::1]:3300,any:10.0.0.1:6789]"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("10.0.0.1:6789", ("10.0.0.1", 6789)),
        ("10.0.0.1", ("10.0.0.1", None)),
        ("[fd00:0:0:0::1]:3300", ("fd00::1", 3300)),
        ("[::1]", ("::1", None)),
        ("FD00::00A1", ("fd00::a1", None)),
        ("Mon-1.example.com:6789", ("mon-1.example.com", 6789)),
    ],
)
def test_addresses_are_split_and_normalised(text: str, parts: tuple[str, int | None]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize("text", ["10.0.0.1:x", "10.0.0.1:65536", "[::1]:-1", "a:²"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        split_address(text)


@pytest.mark.parametrize(
    ("wanted", "port", "found"),
    [
        (["11.2.3.4"], 6789, True),
        (["1.2.3.4"], 6789, False),
        (["11.2.3.4"], 678, False),
        (["11.2.3.4"], None, True),
        (["11.2.3.40"], None, False),
        (["FD00:0::1"], 3300, True),
        (["fd00::1"], 6789, False),
        (["10.9.9.9", "11.2.3.4"], 6789, True),
        ([], None, False),
    ],
)
def test_addresses_are_compared_as_addresses(wanted: list[str], port: int | None, found: bool) -> None:
    addresses = [MonAddress(type="v2", address="[fd00::1]:3300"), MonAddress(type="v1", address="11.2.3.4:6789")]
    assert listens_on(addresses, wanted, port) is found
