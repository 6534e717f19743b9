"""Ansible's callback that lets all runs share the modules that they pack for the hosts, compiled, in $KEPT_MODULES.

A host would compile each module and what it imports at each execution, which takes it as long as all the rest.
"""

import importlib.util
import marshal
import os
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

from ansible.constants import DEFAULT_LOCAL_TMP
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: keep_modules
type: notification
short_description: lets runs share packed modules
description: Packs each module once for all runs that name the same folder KEPT_MODULES, and compiled, for the hosts.
"""
_UNCHECKED = (1).to_bytes(4, "little")  # the file names its source by a hash that nobody compares


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible has no types
    """Puts the shared folder where this run is going to look, and what is compiled beside what is packed."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "keep_modules"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        Path(DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(os.environ["KEPT_MODULES"])
        ZipFile.writestr = _compiling(ZipFile.writestr)  # type: ignore[method-assign]


def _compiling(write: Any) -> Any:
    """Return what writes a file into an archive and, if it is Python, its compiled form, as this Python has it."""

    def both(archive: ZipFile, name: ZipInfo | str, data: str | bytes, *arguments: Any, **options: Any) -> None:
        write(archive, name, data, *arguments, **options)
        path = name.filename if isinstance(name, ZipInfo) else name
        if path.endswith(".py"):
            source = data.encode() if isinstance(data, str) else bytes(data)
            code = marshal.dumps(compile(source, path, "exec", dont_inherit=True))
            head = importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(source)
            write(archive, f"{path}c", head + code, *arguments, **options)

    return both
