"""What is logged: our own records from the level on that is configured, those of libraries only when they warn."""

import json
import logging
from collections.abc import Iterator

import pytest

from bs_agent.daemon.logs import LogLevel, set_up_logging


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """The loggers are put back afterwards."""
    loggers = [logging.getLogger(), logging.getLogger("bs_agent")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    logging.getLogger("aiohttp.server").filters.clear()


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [("debug", "diwe", "we"), ("info", "iwe", "we"), ("warning", "we", "we"), ("error", "e", "e")],
)
def test_libraries_are_heard_when_they_warn(
    capsys: pytest.CaptureFixture[str], level: LogLevel, ours: str, theirs: str
) -> None:
    set_up_logging(level, "json")
    names = ("bs_agent.management.fleet", "alembic.runtime.migration", "aiosqlite", "asyncssh")
    for name in names:
        for letter, number in zip("diwe", (10, 20, 30, 40), strict=True):
            logging.getLogger(name).log(number, letter)
    heard = dict.fromkeys(names, "")
    for line in capsys.readouterr().err.splitlines():
        entry = json.loads(line)
        heard[entry["logger"]] += entry["message"]
    assert list(heard.values()) == [ours, theirs, theirs, theirs]
