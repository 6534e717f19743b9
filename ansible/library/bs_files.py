#!/usr/bin/python
"""Ansible module that lays all files, folders and links of a role in one go and says which of them it changed."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from typing import Any, Callable, NamedTuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: bs_files
short_description: Lay files, folders and links in one go
description:
  - Compares every entry with what stands on the host and puts right what differs, in the order of the list.
  - New contents are validated before anything is changed. Each file and link is put in place whole or not at all.
options:
  files:
    description: What should be there.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      state:
        description: What it is; C(absent) removes a file or a link, C(gone) a directory with all that is in it, too.
        type: str
        choices: [file, directory, link, absent, gone]
        default: file
      content:
        description: The content of a file.
        type: str
      copy_of:
        description: A file of the host whose content this file has.
        type: path
      link_to:
        description: What a link leads to.
        type: str
      owner:
        description: The owner of a file or directory.
        type: str
        default: root
      group:
        description: The group of a file or directory.
        type: str
        default: root
      mode:
        description: The mode in octal digits; 0644 for a file and 0755 for a directory.
        type: str
      validate:
        description: The words of a command that says whether a new content is good; C(%s) stands for a file with it.
        type: list
        elements: str
      diff:
        description: Whether the content may be shown.
        type: bool
        default: true
author: The bs-agent authors
"""

EXAMPLES = r"""
- name: Lay the files
  bs_files:
    files:
      - {path: /etc/bs-agent, state: directory}
      - {path: /etc/bs-agent/agent.toml, content: "", validate: [bs-agent, check-config, --config, "%s"]}
  register: laid
"""

RETURN = r"""
laid:
  description: The paths that were changed.
  returned: always
  type: list
"""

ENTRY = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["file", "directory", "link", "absent", "gone"], "default": "file"},
    "content": {"type": "str"},
    "copy_of": {"type": "path"},
    "link_to": {"type": "str"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str"},
    "validate": {"type": "list", "elements": "str"},
    "diff": {"type": "bool", "default": True},
}
MODES = {"file": "0644", "directory": "0755"}
VALIDATION_SECONDS = 60
Label = Callable[[str, str], None]


class Refused(Exception):
    """What is wished cannot be; the text is for the operator."""


class State(NamedTuple):
    """What a path is: the content of a file, or where a link leads; `None` is a content that nobody knows yet."""

    kind: str
    content: bytes | None = b""
    owner: str = ""
    group: str = ""
    mode: str = ""


class Change(NamedTuple):
    """One path that is not as it is wished."""

    wish: dict[str, Any]
    before: State
    after: State

    @property
    def path(self) -> str:
        """Return the path that changes."""
        return str(self.wish["path"])


def seen(path: str, follow: bool) -> State:
    """Return what stands on the host."""
    try:
        found = os.stat(path) if follow else os.lstat(path)
    except FileNotFoundError:
        return State("absent")
    if stat.S_ISLNK(found.st_mode):
        return State("link", os.readlink(path).encode())
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "something else")
    content = read(path) if kind == "file" else b""
    return State(kind, content, owner(found.st_uid), group(found.st_gid), f"{stat.S_IMODE(found.st_mode):04o}")


def owner(number: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group(number: int) -> str:
    """Return the name of a group, or the number of one without a name."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def read(path: str) -> bytes:
    """Return the content of a file."""
    with open(path, "rb") as file:
        return file.read()


def wished(wish: dict[str, Any], check_mode: bool) -> State:
    """Return what should stand on the host."""
    state = wish["state"]
    if state in ("absent", "gone"):
        return State("absent")
    if state == "link":
        return State("link", wish["link_to"].encode())
    mode = f"{int(wish['mode'] or MODES[state], 8):04o}"
    content: bytes | None = b""
    if state == "file" and wish["copy_of"]:
        try:
            content = read(wish["copy_of"])
        except FileNotFoundError:
            if not check_mode:
                raise
            content = None
    elif state == "file":
        content = (wish["content"] or "").encode()
    return State(state, content, wish["owner"], wish["group"], mode)


def plan(wishes: list[dict[str, Any]], check_mode: bool) -> list[Change]:
    """Return what differs, in the order of the wishes."""
    changes = []
    for wish in wishes:
        after = wished(wish, check_mode)
        change = Change(wish, seen(wish["path"], follow=after.kind == "directory"), after)
        if change.before == after:
            continue
        replaced = change.before.kind not in ("absent", after.kind) and wish["state"] != "gone"
        if replaced and "directory" in (change.before.kind, after.kind):
            raise Refused(f"{change.path} should be {after.kind}, and is {change.before.kind}: move it out of the way")
        changes.append(change)
    return changes


def validate(change: Change, check_mode: bool) -> None:
    """Ask the command of the wish about a new content."""
    words, content = change.wish["validate"], change.after.content
    if not words or content is None or content == change.before.content:
        return
    if check_mode and not shutil.which(words[0]):
        return  # what validates is not installed yet
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        command = [word.replace("%s", file.name) for word in words]
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=VALIDATION_SECONDS,
        )
    if done.returncode:
        raise Refused(f"{change.path} would not be valid: {done.stdout.strip().replace(file.name, change.path)}")


def lay(change: Change, label: Label) -> None:
    """Make the path what it should be."""
    path, after = change.path, change.after
    if after.kind == "absent" and change.before.kind == "directory":
        shutil.rmtree(path)
    elif after.kind == "absent":
        os.unlink(path)
    elif after.kind == "directory":
        if change.before.kind == "absent":
            os.mkdir(path, 0o700)
            label(path, path)
        set_rights(path, after)
    else:
        # The same name every time, so that what a killed run left is found here.
        new = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
        with suppress(FileNotFoundError):
            os.unlink(new)
        write(new, after)
        label(new, path)
        os.replace(new, path)


def write(path: str, state: State) -> None:
    """Make a file or a link where nothing is."""
    content = state.content or b""
    if state.kind == "link":
        os.symlink(content, path)
        return
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        set_rights(path, state)
        file.flush()
        os.fsync(file.fileno())


def set_rights(path: str, state: State) -> None:
    """Set owner, group and mode."""
    try:
        shutil.chown(path, state.owner, state.group)
    except LookupError as error:
        raise Refused(f"{path}: {error}") from error
    os.chmod(path, int(state.mode, 8))


def difference(change: Change) -> dict[str, str]:
    """Return the change in the form that Ansible's --diff shows."""
    before, after = change.before, change.after
    return {
        "before_header": change.path,
        "after_header": change.path,
        "before": text(before, after, change.wish["diff"]),
        "after": text(after, before, change.wish["diff"]),
    }


def text(state: State, other: State, shown: bool) -> str:
    """Return what a path is as text: its content, and what rights it has where the other state has others."""
    if state.kind == "absent":
        return ""
    rights = ("owner", "group", "mode") if state.kind == other.kind else ()
    lines = [f"{name} {getattr(state, name)}\n" for name in rights if getattr(state, name) != getattr(other, name)]
    if state.kind == "link":
        lines.append(f"link to {(state.content or b'').decode(errors='replace')}\n")
    elif state.kind == "directory":
        lines.append("directory\n")
    elif state.content is None:
        lines.append("not known yet\n")
    elif shown:
        lines.append(state.content.decode(errors="replace"))
    elif state.content != other.content:
        lines.append(f"{len(state.content)} bytes that are not shown\n")
    return "".join(lines)


def main() -> None:
    """Lay what the task wishes."""
    # A content may hold a secret: neither the host's log nor the result may have it.
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": ENTRY}},
        supports_check_mode=True,
        no_log=True,
    )
    result: dict[str, Any] = {"invocation": {"module_args": {"files": [w["path"] for w in module.params["files"]]}}}

    def label(path: str, place: str) -> None:
        module.set_context_if_different(path, module.selinux_default_context(place), False)

    try:
        changes = plan(module.params["files"], module.check_mode)
        for change in changes:
            validate(change, module.check_mode)
        for change in [] if module.check_mode else changes:
            lay(change, label)
    except (Refused, OSError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=str(error), **result)
    paths = [change.path for change in changes]
    shown = {"diff": [difference(change) for change in changes]} if module._diff else {}  # noqa: SLF001
    module.exit_json(changed=bool(paths), laid=paths, **shown, **result)


if __name__ == "__main__":
    main()
