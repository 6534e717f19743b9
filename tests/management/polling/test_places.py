"""Room for what is sent unasked: one sender takes none of the others'."""

from contextlib import ExitStack

import pytest

from bs_agent.contract.errors import Overloaded, TooManyRequests
from bs_agent.management.polling import places


def test_places_are_shared_out_and_given_back() -> None:
    moment = 0.0
    room = places.Places(lambda: moment)
    with ExitStack() as taken:
        for number in range(places.AT_ONCE):
            taken.enter_context(room.of(str(number)))
        with pytest.raises(Overloaded), room.of("one more"):
            pass
    for _ in range(places.BURST - 1):
        with room.of("0"):
            pass
    with pytest.raises(TooManyRequests), room.of("0"):
        pass
    moment = 1.0
    with room.of("0"):
        pass
    with pytest.raises(TooManyRequests), room.of("0"):
        pass


def test_who_finds_no_room_is_told_to_come_back_when_there_is_some() -> None:
    moment = 0.0
    room = places.Places(lambda: moment)
    told = [room.put_off("full").retry_after for _ in range(10_000)]
    assert told == sorted(told)
    assert max(told) == places.LONGEST_WAIT
    for second in range(1, int(places.LONGEST_WAIT)):
        assert told.count(second) <= places.COME_BACK + 1
    moment = 1000.0
    assert room.put_off("full").retry_after == 1, "what was promised to others is over"


def test_senders_that_have_nothing_to_make_up_for_are_forgotten() -> None:
    moment = 0.0
    room = places.Places(lambda: moment)
    for number in range(1000):
        moment = float(number)
        with room.of(str(number)):
            pass
    assert len(room._spent) < 10
