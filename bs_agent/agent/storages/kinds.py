"""The kinds of backup storage that this agent serves: a line each for how one is made, remembered, and kept apart."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from bs_agent.agent.storages import ceph, imagestore
from bs_agent.agent.storages.base import Factory, Host
from bs_agent.contract.report import CEPH, IMAGESTORE

KINDS: dict[str, Factory] = {
    IMAGESTORE: imagestore.ImageStore,
    CEPH: ceph.Ceph,
}
# The form of what `connect` returns.
MEMORIES: dict[str, type[BaseModel]] = {
    IMAGESTORE: imagestore.Memory,
    CEPH: ceph.Memory,
}
# Where a storage is, as far as its parameters tell: those of one place are connected one after the other.
PLACES: dict[str, Callable[[Any, Host], str]] = {
    IMAGESTORE: imagestore.place,
    CEPH: ceph.place,
}
