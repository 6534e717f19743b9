"""Room for what is sent unasked: for all senders together, for one of them, and for one in the long run.

Who finds no room is told when to come back: each a little later than the one before, so that they find room then.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bs_agent.contract.errors import Overloaded, TooManyRequests

AT_ONCE = 32
OF_ONE = 2
BURST = 8
"""Reports that a sender may have taken shortly after one another; in the long run it is one a second."""
COME_BACK = 100
"""How many of those that were put off are told to come back within a second."""
LONGEST_WAIT = 60.0
"""Seconds after which they come back at the latest; the polls have brought what they would say by then."""


class Places:
    """Who has taken how much room; `clock` is a monotonic one, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._taken: Counter[str] = Counter()
        self._spent: dict[str, tuple[float, float]] = {}
        self._promised = 0.0

    @contextmanager
    def of(self, sender: str) -> Iterator[None]:
        """Take a place while the context is open.

        Raises:
            Overloaded: all places are taken.
            TooManyRequests: the sender has taken too much of them, or takes them too often.
        """
        if self._taken.total() >= AT_ONCE:
            raise self.put_off(f"{AT_ONCE} reports are being taken")
        if self._taken[sender] >= OF_ONE:
            raise _too_many(f"{OF_ONE} reports of this sender are being taken")
        self._spend(sender)
        self._taken[sender] += 1
        try:
            yield
        finally:
            self._taken[sender] -= 1
            if not self._taken[sender]:
                del self._taken[sender]

    def put_off(self, details: str) -> Overloaded:
        """Return the refusal of somebody for whom there is no room, with the time to come back."""
        now = self._clock()
        self._promised = min(max(self._promised, now) + 1 / COME_BACK, now + LONGEST_WAIT)
        refusal = Overloaded(details)
        refusal.retry_after = math.ceil(self._promised - now)
        return refusal

    def _spend(self, sender: str) -> None:
        now = self._clock()
        spent, then = self._spent.get(sender, (0.0, now))
        left = max(0.0, spent - (now - then))
        if left + 1 > BURST:
            raise _too_many("one report a second is taken of one sender")
        self._spent.pop(sender, None)
        self._spent[sender] = (left + 1, now)
        while self._spent:  # whoever has nothing to make up for is forgotten, the one who came first before the others
            first, (spent, then) = next(iter(self._spent.items()))
            if spent > now - then:
                break
            del self._spent[first]


def _too_many(details: str) -> TooManyRequests:
    refusal = TooManyRequests(details)
    refusal.retry_after = 1
    return refusal
