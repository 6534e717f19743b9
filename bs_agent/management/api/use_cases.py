"""Which use case serves which API: each subject brings the rows of its calls."""

from bs_agent.management.access.access_keys import AccessKeys
from bs_agent.management.access.sessions import Auth
from bs_agent.management.api.accounts import AccountCalls
from bs_agent.management.api.calls import UseCase
from bs_agent.management.api.ceph import CephCalls
from bs_agent.management.api.past import PastCalls
from bs_agent.management.api.storages import StorageCalls
from bs_agent.management.api.tags import TagCalls
from bs_agent.management.api.zones import ZoneCalls
from bs_agent.management.operations.acts import Acts
from bs_agent.management.store.database import Database


def use_cases(auth: Auth, keys: AccessKeys, acts: Acts, database: Database) -> dict[str, UseCase]:
    """Return the use case of every API that is no query, by its name."""
    tags = TagCalls(database)
    subjects = (
        AccountCalls(auth, keys, database),
        StorageCalls(acts, database, tags),
        CephCalls(acts, database, tags),
        ZoneCalls(database, tags),
        PastCalls(database),
        tags,
    )
    return {name: use_case for subject in subjects for name, use_case in subject.rows().items()}
