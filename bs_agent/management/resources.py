"""One resource by its uuid: as the API shows it, or the error that there is none."""

from typing import Any

from bs_agent.contract.errors import ResourceNotFound
from bs_agent.contract.inventory import Inventory
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import find_one


async def shown(database: Database, kind: type[Inventory], uuid: str) -> dict[str, Any]:
    """Return one inventory as the API shows it.

    Raises:
        ResourceNotFound: there is none of this uuid.
    """
    found = await find_one(database, kind, uuid)
    if not found.inventories:
        raise not_found(kind, uuid)
    return found.inventories[0]


def not_found(kind: type[Inventory], uuid: str, field: str = "uuid") -> ResourceNotFound:
    """Build the error for a uuid that names nothing."""
    resource = kind.__name__.removesuffix("Inventory")
    return ResourceNotFound(f"invalid field[{field}], resource[uuid:{uuid}, type:{resource}VO] not found")
