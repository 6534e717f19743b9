"""The history of the interactive prompt: in a file that only its owner can read, bounded, without secrets."""

import os
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from bs_agent.client.cli.arguments import shows_secret
from bs_agent.client.cli.prompt.lexing import split
from bs_agent.contract.api import APIS

MAX_FILE = 256 * 1024


def open_history(directory: Path) -> History:
    """Return the history kept in `directory`, or one in memory where nothing can be kept."""
    path = directory / "history"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        path.chmod(0o600)
        _trim(path)
    except OSError:
        return InMemoryHistory()
    return _Kept(str(path))


def may_be_kept(text: str) -> bool:
    """Tell whether a line holds no secret, and was not begun with a space to keep it out."""
    words = split(text + " ").words
    # A command that was misspelt may be any.
    apis = [APIS[words[0]]] if words and words[0] in APIS else list(APIS.values())
    return not text.startswith(" ") and not any(shows_secret(api, word) for api in apis for word in words)


class _Kept(FileHistory):
    def append_string(self, string: str) -> None:
        if may_be_kept(string):
            super().append_string(string)


def _trim(path: Path) -> None:
    """Drop the older half of a file that has grown too large; an entry begins with a comment."""
    if path.stat().st_size > MAX_FILE:
        kept = path.read_bytes()[-MAX_FILE // 2 :]
        path.write_bytes(kept[kept.find(b"\n# ") + 1 :])
