"""The contract and the server do not drift apart: each API has one use case, or an inventory that can be queried."""

from pathlib import Path

import pytest

from bs_agent.contract.api import APIS
from bs_agent.contract.inventory import Inventory
from bs_agent.management.access_keys import AccessKeys
from bs_agent.management.auth import Auth
from bs_agent.management.config import SessionSettings
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.access_keys import AccessKeyStore
from bs_agent.management.store.accounts import AccountStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.fields import RESOURCES
from bs_agent.management.use_cases import use_cases
from tests.management.server import TableFleet

pytestmark = pytest.mark.asyncio


async def test_each_api_has_a_use_case_or_is_a_query(tmp_path: Path) -> None:
    database = Database.connect(f"sqlite:///{tmp_path}/management.db")
    keys = AccessKeys(AccessKeyStore(database), Keyring.open(tmp_path))
    async with Auth.open(AccountStore(database), SessionSettings()) as auth:
        served = set(use_cases(auth, keys, TableFleet(database), database))
    assert served == {name for name, api in APIS.items() if not api.queries}
    await database.close()


async def test_each_inventory_that_is_queried_has_its_tables() -> None:
    assert {api.queries for api in APIS.values() if api.queries} <= set(RESOURCES)


@pytest.mark.parametrize("inventory", RESOURCES, ids=lambda inventory: inventory.__name__)
async def test_each_field_that_may_be_queried_is_found(inventory: type[Inventory]) -> None:
    resource = RESOURCES[inventory]
    for kind in resource.kinds.values() or [inventory]:
        assert set(kind.queryable()) <= {*resource.fields, *resource.lists}
        assert set(kind.expands) <= set(resource.expands)
