"""Processes whose clock is ahead or behind, and can be set while they run, by libfaketime."""

from pathlib import Path

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class Clock:
    """The clock of the processes that run in its environment; time that only goes forward is left alone."""

    def __init__(self, folder: Path, seconds: int = 0) -> None:
        self._file = folder / "clock"
        self.set(seconds)

    def set(self, seconds: int) -> None:
        """Let the clock be so many seconds ahead from now on, or behind."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment, beside the usual, to believe this clock."""
        return {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # Else each wait of a thread for another returns at once, and all of them together burn the processor.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }


def missing() -> str:
    """Say why no clock can be set here; empty when one can."""
    return "" if _LIBRARIES else "libfaketime is not installed (apt-get install libfaketime)"
