"""The status machine: pure, so every rule is stated on values."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.contract.reasons import REASONS, Reason, ReasonCode
from bs_agent.contract.report import CephReport, Cluster, DirectoryUsage, ImageStoreReport, LocalMon, Section
from bs_agent.management.model.health import (
    MON_ONLY,
    RETRY_CAP,
    TICK,
    UNSEEN,
    Health,
    Link,
    Retry,
    judge,
    next_due,
    storage_health,
)

times = st.floats(min_value=0, max_value=1e9)
intervals = st.floats(min_value=0.1, max_value=86400)
reasons = st.builds(Reason, code=st.sampled_from(ReasonCode), details=st.text(max_size=5))
hosts = st.lists(
    st.builds(Health, st.sampled_from(["Connected", "Connecting", "Disconnected"]), st.none() | reasons), max_size=5
)


def down(code: ReasonCode) -> Health:
    return Health("Disconnected", Reason(code=code, details="seen"))


def report(code: ReasonCode | None = None) -> ImageStoreReport:
    usage = DirectoryUsage(totalCapacity=2, availableCapacity=1, totalInodes=2, availableInodes=1, readOnly=False)
    reason = Reason(code=code, details="seen") if code else None
    return ImageStoreReport(uuid=uuid4().hex, url="/x", usage=Section(value=usage, reason=reason))


@given(times, intervals)
def test_an_agent_keeps_its_place_in_the_interval(now: float, interval: float) -> None:
    due = next_due("an agent", interval, now)
    assert now < due <= now + interval * 1.000001
    assert next_due("an agent", interval, due) - due == pytest.approx(interval, rel=1e-3)


def test_agents_are_spread_over_the_interval() -> None:
    dues = [next_due(uuid4().hex, 60, 1000.0) - 1000 for _ in range(3000)]
    for second in range(0, 60, 10):
        share = sum(second <= due < second + 10 for due in dues) / len(dues)
        assert 0.1 < share < 0.24, "a sixth, give or take far more than chance does"


def test_agents_that_are_due_about_the_same_time_are_due_at_once() -> None:
    dues = {round(next_due(uuid4().hex, 60, 1000.0), 6) for _ in range(3000)}
    assert len(dues) <= 60 / TICK
    assert all(due / TICK == pytest.approx(round(due / TICK)) for due in dues)


def test_a_link_is_down_after_so_many_misses_in_a_row() -> None:
    link = Link()
    why = Reason(code=ReasonCode.AGENT_TIMEOUT, details="")
    seen = [(link := link.missed(why)).is_down(3) for _ in range(4)]
    assert seen == [False, False, True, True]
    assert link.reason == why


@given(times, st.floats(min_value=0.1, max_value=1e5), st.lists(st.floats(min_value=0, max_value=1), max_size=50))
def test_retries_back_off_within_the_cap(now: float, first: float, chances: list[float]) -> None:
    retry = Retry()
    for count, chance in enumerate(chances, 1):
        retry = retry.failed(now, first, chance)
        assert retry.attempts == count
        assert now <= retry.not_before <= now + min(RETRY_CAP, first * 2.0 ** (count - 1))


def test_a_first_retry_is_due_at_once() -> None:
    assert Retry().not_before == 0


@pytest.mark.parametrize("code", list(ReasonCode))
def test_blocking_reasons_disconnect_and_passing_ones_are_shown(code: ReasonCode) -> None:
    judged = judge(report(code))
    assert judged.status == ("Disconnected" if REASONS[code].blocking else "Connected")
    assert judged.reason is not None
    assert judged.reason.code == code


def test_a_report_that_says_nothing_of_the_storage() -> None:
    assert judge(report()) == Health("Connected", fresh=True)
    unknown = judge(None)
    assert unknown.status == "Disconnected"
    assert unknown.reason is not None
    assert unknown.reason.code == ReasonCode.STORAGE_UNKNOWN


def test_a_storage_lives_while_one_host_sees_its_cluster() -> None:
    dead, lost = down(ReasonCode.AGENT_UNREACHABLE), down(ReasonCode.NO_QUORUM)
    assert storage_health([Health("Connected"), dead, dead]) == Health("Connected", dead.reason)
    assert storage_health([dead, lost, dead]) == lost, "who looked knows more than who did not answer"
    out = down(ReasonCode.MON_OUT_OF_QUORUM)
    assert storage_health([out, dead]).status == "Connected", "its mon is out, but it sees the cluster"
    assert storage_health([down(ReasonCode.AUTH_FAILED), dead]).reason == down(ReasonCode.AUTH_FAILED).reason
    assert storage_health([Health("Connecting"), dead]).status == "Connecting"
    assert storage_health([]).status == "Disconnected"


def test_a_host_whose_mon_is_out_must_see_the_cluster_to_count() -> None:
    def seen(cluster: ReasonCode | None) -> Health:
        out = Section[LocalMon](reason=Reason(code=ReasonCode.MON_OUT_OF_QUORUM, details="out"))
        asked = Section[Cluster](reason=Reason(code=cluster, details="seen") if cluster else None)
        return judge(
            CephReport(uuid=uuid4().hex, poolName="p", cluster=asked, pools=Section(), mons=Section(), localMon=out)
        )

    assert storage_health([seen(None)]).status == "Connected"
    assert storage_health([seen(ReasonCode.MGR_DOWN)]).status == "Connected"
    silent = seen(ReasonCode.PROBE_TIMEOUT)
    assert storage_health([silent, down(ReasonCode.NO_QUORUM)]) == down(ReasonCode.NO_QUORUM)
    assert storage_health([silent, Health("Connected")]).status == "Connected"


@given(hosts)
def test_a_storage_is_never_better_than_its_best_host(several: list[Health]) -> None:
    health = storage_health(several)
    serving = [host for host in several if host.status == "Connected" or (host.reason and host.reason.code in MON_ONLY)]
    if not serving:
        assert health.status != "Connected"
    if any(host.status == "Connected" for host in several):
        assert health.status == "Connected"
    assert health.reason is None or health.reason in {host.reason for host in several}
    if health.reason and health.reason.code in UNSEEN:
        assert all(host.reason is None or host.reason.code in UNSEEN for host in several)
