"""When Python looks for garbage: nearly all that a daemon makes stays until its end, or goes without being looked for.

To look through what a start makes, again and again and once more at the end, takes a quarter of its processor time. A
node that polls 10,000 agents would look for half a second each time, in which nothing else goes on.
"""

import atexit
import gc

_AT_THE_START = (100_000, 10, 10)
"""How many more objects there are at the next look; all that a start makes is three times as many."""
_LATER = (20_000, 20, 50)


def look_seldom() -> None:
    """Look for garbage seldom while the program starts, or while a short one runs, and not again at its end."""
    gc.set_threshold(*_AT_THE_START)
    atexit.register(gc.freeze)


def look_as_a_daemon() -> None:
    """Take all that there is now for what stays, and look at the rest now and then."""
    gc.freeze()
    gc.set_threshold(*_LATER)
