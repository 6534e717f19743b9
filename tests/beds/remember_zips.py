"""Part of the hosts' image: remembers what Python compiled from modules in zip archives.

Ansible sends its whole library in one with each task, as source, and Python would compile it each time: that is most of
what a task costs. A `.pth` file imports this whenever the distribution's Python starts, so it loads next to nothing.
Where there is no such folder, nothing is remembered.
"""

import _imp
import marshal
import os
import zipimport

FOLDER = "/var/cache/compiled-zips"

_functions = vars(zipimport)
_compile = _functions["_compile_source"]


def _remembered(path, source):  # type: ignore[no-untyped-def]  # no annotation is worth an import here
    place = f"{FOLDER}/{_imp.source_hash(0, source).hex()}"
    try:
        with open(place, "rb") as file:
            return marshal.load(file)
    except (OSError, EOFError, ValueError, TypeError):
        code = _compile(path, source)
    beside = f"{place}.{os.getpid()}"
    try:
        with open(beside, "wb") as file:
            marshal.dump(code, file)
        os.replace(beside, place)
    except OSError:  # another user's
        pass
    return code


_functions["_compile_source"] = _remembered
