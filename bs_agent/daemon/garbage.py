"""When Python looks for garbage: nearly all that a program makes while it starts stays until its end.

To look through that, again and again and once more at the end, takes a quarter of the processor time of a start.
"""

import atexit
import gc

_USUAL = gc.get_threshold()
_SELDOM = 100_000
"""How many more objects there are at the next look; all that a start makes is three times as many."""


def look_seldom() -> None:
    """Look for garbage seldom while the program starts, or while a short one runs, and not again at its end."""
    gc.set_threshold(_SELDOM)
    atexit.register(gc.freeze)


def look_as_usual() -> None:
    """Take all that there is now for what stays, and look at the rest as usual from now on."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
