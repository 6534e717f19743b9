#!/usr/bin/python
"""Ansible module that makes a release from its archive in one go: a virtual environment with all the wheels in it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from typing import BinaryIO

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: bs_install
short_description: Make a release from its archive
description:
  - Makes the folder of the release anew, with a virtual environment in it that everybody may read, and stamps it last.
    So a folder without the stamp is what an interrupted run left.
  - An interrupted run may still be at work on the host; then it waits until that is done.
  - Takes the archive away.
options:
  archive:
    description: The archive on the host, with wheels and units.
    type: path
    required: true
  folder:
    description: The folder of the release; the one that it is in must exist.
    type: path
    required: true
  python:
    description: The Python on the host that runs the program.
    type: path
    required: true
  requirement:
    description: What pip installs from the wheels.
    type: str
    required: true
  stamp:
    description: What the release is stamped with.
    type: str
    required: true
author: The bs-agent authors
"""

EXAMPLES = r"""
- name: Build the release
  bs_install:
    archive: /opt/bs-agent/releases/.archive
    folder: /opt/bs-agent/releases/0.1.0
    python: /usr/bin/python3
    requirement: bs-agent[agent]==0.1.0
    stamp: "{{ lookup('ansible.builtin.file', 'bs-agent-0.1.0.tar.sha256') }}"
"""

RETURN = "# Nothing beside what every module returns."

COMMAND_SECONDS = 600.0
WAIT_SECONDS = 120.0
PIP_OPTIONS = "--quiet --no-index --no-cache-dir --disable-pip-version-check --root-user-action=ignore"


class Refused(Exception):
    """The release cannot be made; the text is for the operator."""


def build(archive: str, folder: str, python: str, requirement: str, stamp: str, *, labelled: bool) -> None:
    """Make a release; raises `Refused` where a command fails or another run is at work here and does not end."""
    os.umask(0o022)  # that of the log-in may keep the release from the services' users
    above = os.open(os.path.dirname(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        with open(archive, "rb") as wheels:
            os.unlink(archive)  # at once, so that none of a later run is taken for it
            wait_for_others(above, folder)
            if os.path.lexists(folder):
                shutil.rmtree(folder)
            os.mkdir(folder)
            run(["tar", "--extract", "--no-same-owner", "--directory", folder], above, wheels)
        run([python, "-m", "venv", "--without-pip", folder], above)
        pip = [f"{folder}/bin/python", f"{folder}/bundle/pip.whl/pip", "install", *PIP_OPTIONS.split()]
        run([*pip, f"--find-links={folder}/bundle/wheels", requirement], above)
        shutil.rmtree(f"{folder}/bundle")
        if labelled:
            run(["restorecon", "-R", os.path.dirname(os.path.dirname(folder))], above)
        write(f"{folder}/.complete", stamp)
    finally:
        os.close(above)


def wait_for_others(above: int, folder: str) -> None:
    """Be the only one who makes a release here, for as long as this descriptor and its heirs are open."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_ours(above):
        if time.monotonic() > deadline:
            raise Refused(f"another run has been making {folder} for {WAIT_SECONDS:g} s: end it")
        time.sleep(0.1)


def is_ours(above: int) -> bool:
    """Take the lock if nobody has it, and tell whether we have it now."""
    try:
        fcntl.flock(above, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def run(words: list[str], above: int, source: BinaryIO | None = None) -> None:
    """Run a command, which keeps others out as long as it runs, also when we are killed."""
    try:
        done = subprocess.run(
            words,
            check=False,
            stdin=source or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[above],
            encoding="utf-8",
            errors="replace",
            timeout=COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"{words[0]} did not end within {COMMAND_SECONDS:g} s") from None
    if done.returncode:
        raise Refused(f"{' '.join(words)}: exit status {done.returncode}: {done.stdout.strip()}")


def write(path: str, content: str) -> None:
    """Write a file that is there whole or not at all."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


def main() -> None:
    """Make the release that the task names."""
    path = {"type": "path", "required": True}
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={"archive": path, "folder": path, "python": path, "requirement": text, "stamp": text},
        supports_check_mode=True,
    )
    if not module.check_mode:
        try:
            build(**module.params, labelled=module.selinux_enabled())
        except (Refused, OSError) as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
