"""The kinds of backup storage that this agent serves: one line each, and one for what is remembered of them."""

from pydantic import BaseModel

from bs_agent.agent.storages import ceph, imagestore
from bs_agent.agent.storages.base import Factory
from bs_agent.contract.report import CEPH, IMAGESTORE

KINDS: dict[str, Factory] = {
    IMAGESTORE: imagestore.ImageStore,
    CEPH: ceph.Ceph,
}
MEMORIES: dict[str, type[BaseModel]] = {
    IMAGESTORE: imagestore.Memory,
    CEPH: ceph.Memory,
}
