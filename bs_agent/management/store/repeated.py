"""What is one transaction, and is done again when the database gave it up because others were in its way."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import ParamSpec, TypeVar

from bs_agent.management.store.database import TransactionGivenUp

P = ParamSpec("P")
T = TypeVar("T")
Store = TypeVar("Store")

TRIES = 4
_PAUSE = 0.05
"""Seconds before the second try, at the most; the others that were in the way are through by then."""


def repeated(work: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Do `work` again when its transaction was given up: nothing of it was done."""

    @wraps(work)
    async def repeating(*arguments: P.args, **named: P.kwargs) -> T:
        for number in range(1, TRIES):
            try:
                return await work(*arguments, **named)
            except TransactionGivenUp:
                await asyncio.sleep(random.uniform(0, _PAUSE * number))  # noqa: S311  so that two do not meet again
        return await work(*arguments, **named)

    return repeating


def each_repeated(store: type[Store]) -> type[Store]:
    """Let each public method of a store be done again so; each of them is one transaction."""
    for name, method in list(vars(store).items()):
        if iscoroutinefunction(method) and not name.startswith("_"):
            setattr(store, name, repeated(method))
    return store
