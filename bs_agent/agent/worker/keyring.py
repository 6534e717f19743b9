"""What can be seen of a keyring: most releases of librados say "permission denied" of whatever does not fit in one.

As the probe program, it runs on the distribution's Python, 3.6 or later.
"""

import base64
import binascii
import errno
import os
import re
from typing import Dict, List, Optional, Tuple

MAX_BYTES = 1 << 20
SECTION = re.compile(r"^\s*\[\s*(.*?)\s*\]", re.MULTILINE)
KEY = re.compile(r"^\s*key\s*=\s*\"?([^\s\"]*)", re.MULTILINE)
AES, AES256K = 1, 2  # the types of keys; the first one is known to every release
KNOWS_AES256K = "19.2.6, 20.2.4 or later"


def what_does_not_fit(paths: str, client: str, denied: bool) -> Optional[Tuple[str, str]]:
    """Return the reason's code and what is wrong with the keyring, None if nothing is seen to be.

    Of the paths, librados takes the first that it can open. `denied` is whether the cluster may have been asked: a
    librados that does not know the type of a key does not get that far.
    """
    wanted = [path for path in re.split(r"[,;\s]+", paths) if path]
    path, text, refused = _first(wanted)
    if refused:
        return "CephConfInvalid", refused
    if path is None:
        return "AuthFailed", "there is no keyring: %s" % (
            " and ".join("no %s" % each for each in wanted) or "none is named"
        )
    keys = _keys(text)
    if not keys and text.strip():
        return "CephConfInvalid", "%s is no keyring" % path
    if not keys.get(client):
        return "AuthFailed", "%s holds no key of %s" % (path, client)
    kind = _kind(keys[client])
    if kind is None:
        return "CephConfInvalid", "the key of %s in %s is no key" % (client, path)
    if kind != AES and not denied:
        name = "AES256K" if kind == AES256K else "%d" % kind
        hint = "; python3-rados of Ceph %s does" % KNOWS_AES256K if kind == AES256K else ""
        return "CephConfInvalid", "the librados here does not know the type %s of the key of %s in %s%s" % (
            name,
            client,
            path,
            hint,
        )
    return None


def _first(paths: List[str]) -> Tuple[Optional[str], str, str]:
    """Return the first path that can be opened with what it holds, or why none can be."""
    refused = ""
    for path in paths:
        try:
            with open(path, "rb") as file:
                return path, file.read(MAX_BYTES).decode("utf-8", "replace"), ""
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                refused = refused or "%s cannot be read: %s" % (path, os.strerror(error.errno or 0))
    return None, "", refused


def _keys(text: str) -> Dict[str, str]:
    """Return the key of each entity, empty where it has none."""
    parts = SECTION.split(text)
    keys = {}
    for name, body in zip(parts[1::2], parts[2::2]):  # noqa: B905  Python 3.6 knows no `strict`
        found = KEY.search(body)
        keys[name] = found.group(1) if found else ""
    return keys


def _kind(key: str) -> Optional[int]:
    """Return the type of a key: two bytes, then eight of its creation and two of its length, then the secret."""
    try:
        raw = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) < 12 or len(raw) < 12 + int.from_bytes(raw[10:12], "little"):
        return None
    return int.from_bytes(raw[:2], "little")
