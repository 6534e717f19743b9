"""Part of the hosts' image, its `sitecustomize`: Python there remembers what it compiled, whichever host compiled it.

Ansible sends its whole library in a zip archive with each task, as source, and pip compiles all that it installs: that
is most of what a deployment costs. Every Python of a host loads this at its start, that of a virtual environment too,
so it loads next to nothing. Where the folder is not there, or may not be written to, nothing new is remembered.
"""

# No annotation is worth an import here.
# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="method-assign, attr-defined"

import _frozen_importlib_external as _imports
import _imp
import marshal
import os
import zipimport

FOLDER = "/var/cache/compiled"

_of_file = _imports.SourceLoader.source_to_code
_functions = vars(zipimport)
_of_zip = _functions["_compile_source"]


def _remembered(path, source, compiler):
    place = f"{FOLDER}/{_imp.source_hash(_imports._RAW_MAGIC_NUMBER, source).hex()}"
    try:
        with open(place, "rb") as file:
            code = marshal.load(file)
    except (OSError, EOFError, ValueError, TypeError):
        code = compiler()
    else:
        _imp._fix_co_filename(code, path)
        return code
    beside = f"{place}.{os.urandom(8).hex()}"
    try:
        with open(beside, "xb") as file:
            marshal.dump(code, file)
        os.replace(beside, place)
    except OSError:  # another user's
        pass
    return code


def _from_file(self, data, path, *, _optimize=-1):
    def compiler():
        return _of_file(self, data, path, _optimize=_optimize)

    if _optimize != -1 or not isinstance(data, bytes):
        return compiler()
    return _remembered(path, data, compiler)


_imports.SourceLoader.source_to_code = _from_file
_functions["_compile_source"] = lambda path, source: _remembered(path, source, lambda: _of_zip(path, source))
