"""Which use case serves which API: each subject brings the rows of its calls."""

from bs_agent.contract.api import APIS
from bs_agent.contract.declaration import Parameters
from bs_agent.contract.errors import OperationFailed
from bs_agent.management.access_keys import AccessKeys
from bs_agent.management.account_calls import AccountCalls
from bs_agent.management.auth import Auth, Caller
from bs_agent.management.http import UseCase
from bs_agent.management.jobs import Payload
from bs_agent.management.storage_calls import Fleet, StorageCalls
from bs_agent.management.store.database import Database
from bs_agent.management.tag_calls import TagCalls
from bs_agent.management.zone_calls import ZoneCalls


def use_cases(auth: Auth, keys: AccessKeys, fleet: Fleet, database: Database) -> dict[str, UseCase]:
    """Return the use case of every API that is no query, by its name."""
    tags = TagCalls(database)
    subjects = (
        AccountCalls(auth, keys, database),
        StorageCalls(fleet, database, tags),
        ZoneCalls(database, tags),
        tags,
    )
    served = {name: use_case for subject in subjects for name, use_case in subject.rows().items()}
    return {name: _later for name, api in APIS.items() if not api.queries} | served


async def _later(_: Parameters, __: Caller) -> Payload:
    raise OperationFailed("this version does not serve this call yet")
