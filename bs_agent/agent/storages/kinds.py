"""The kinds of backup storage that this agent serves: one line each."""

from bs_agent.agent.storages.base import Factory
from bs_agent.agent.storages.ceph import Ceph
from bs_agent.agent.storages.imagestore import ImageStore
from bs_agent.contract.report import CEPH, IMAGESTORE

KINDS: dict[str, Factory] = {
    IMAGESTORE: ImageStore,
    CEPH: Ceph,
}
