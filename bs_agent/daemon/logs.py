"""Logging of both daemons: one line a record, for people or as JSON, on standard error."""

import json
import logging
import sys
from typing import Literal

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def is_our_matter(record: logging.LogRecord) -> bool:
    """Tell whether a record of the HTTP server speaks of more than a peer that sends no HTTP, or lines without end."""
    from aiohttp.http_exceptions import HttpProcessingError  # noqa: PLC0415  heavy, and short commands serve nothing

    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def set_up_logging(level: LogLevel, form: LogFormat) -> None:
    """Send all records of at least `level` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(is_our_matter)
