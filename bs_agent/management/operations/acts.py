"""What can be done to backup storages and their hosts, as the calls of the public API ask for it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bs_agent.contract.calls_ceph import AddCephParameters, AddMonParameters, RemoveMonParameters, UpdateMonParameters
from bs_agent.contract.calls_storage import AddImageStoreParameters
from bs_agent.contract.declaration import DeleteMode
from bs_agent.contract.deletion import DeletePreviewInventory


class Reconnect(Protocol):
    """See `reconnect.py`."""

    async def __call__(self, uuid: str, system_tags: Sequence[str] = ()) -> None:
        """Connect to the hosts of a storage afresh."""


class Delete(Protocol):
    """See `delete.py`."""

    async def __call__(self, uuid: str, mode: DeleteMode, system_tags: Sequence[str] = ()) -> None:
        """Delete a storage and clean its hosts; an unknown one is deleted already."""


class Preview(Protocol):
    """See `preview.py`."""

    async def __call__(self, uuid: str, system_tags: Sequence[str] = ()) -> DeletePreviewInventory:
        """Tell what a delete would do."""


@dataclass(frozen=True)
class Acts:
    """The use cases; those that add, and the change of a mon, return the uuid of the storage."""

    add_image_store: Callable[[AddImageStoreParameters], Awaitable[str]]
    add_ceph: Callable[[AddCephParameters], Awaitable[str]]
    reconnect: Reconnect
    delete: Delete
    preview: Preview
    add_mons: Callable[[AddMonParameters], Awaitable[None]]
    remove_mons: Callable[[RemoveMonParameters], Awaitable[None]]
    update_mon: Callable[[UpdateMonParameters], Awaitable[str]]
