"""Where the tests keep their files: in memory, for nothing of them must outlive the run, and disks are slow."""

import os
import shutil
import tempfile

import psutil

FOLDER = "/dev/shm"
NEEDED = 6 << 30


def keep_files_in_memory() -> None:
    """Let this process and its children make their temporary files in memory; TMPDIR, where it is set, goes first."""
    if "TMPDIR" in os.environ or not _has_room():
        return
    os.environ["TMPDIR"] = FOLDER
    tempfile.tempdir = None  # whoever asked before has got the other folder


def _has_room() -> bool:
    try:
        free = shutil.disk_usage(FOLDER).free
    except OSError:
        return False
    return os.access(FOLDER, os.W_OK) and min(free, psutil.virtual_memory().available) >= NEEDED
