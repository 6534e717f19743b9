"""The calls on accounts, sessions and access keys."""

from bs_agent.contract import calls_account as calls
from bs_agent.contract.dates import format_seconds
from bs_agent.contract.declaration import OneResource
from bs_agent.contract.inventory import AccessKeyInventory, AccountInventory
from bs_agent.management.access.access_keys import AccessKeys
from bs_agent.management.access.sessions import Auth, Caller
from bs_agent.management.api.calls import UseCase
from bs_agent.management.jobs.jobs import Payload
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import not_found, shown


class AccountCalls:
    """Opens and ends sessions, changes passwords, makes and deletes access keys."""

    def __init__(self, auth: Auth, keys: AccessKeys, database: Database) -> None:
        self._auth = auth
        self._keys = keys
        self._database = database

    def rows(self) -> dict[str, UseCase]:
        """Return the use case of each call."""
        return {
            calls.LOG_IN.name: self.log_in,
            calls.LOG_OUT.name: self.log_out,
            calls.VALIDATE_SESSION.name: self.validate_session,
            calls.REVOKE_SESSION.name: self.revoke_session,
            calls.UPDATE_ACCOUNT.name: self.update_account,
            calls.CREATE_ACCESS_KEY.name: self.create_access_key,
            calls.DELETE_ACCESS_KEY.name: self.delete_access_key,
        }

    async def log_in(self, parameters: calls.LogInParameters, caller: Caller) -> Payload:
        """Open a session."""
        password = parameters.password.get_secret_value()
        opened = await self._auth.log_in(parameters.accountName, password, caller.address)
        return {
            "inventory": {
                "uuid": opened.secret,
                "accountUuid": opened.account_uuid,
                "userUuid": opened.account_uuid,
                "expiredDate": format_seconds(opened.expires),
                "createDate": format_seconds(opened.created),
            }
        }

    async def log_out(self, parameters: calls.SessionParameters, _: Caller) -> Payload:
        """End a session."""
        await self._auth.log_out(parameters.sessionUuid)
        return {}

    async def validate_session(self, parameters: calls.SessionParameters, _: Caller) -> Payload:
        """Tell whether a session can be used."""
        return {"validSession": await self._auth.is_valid(parameters.sessionUuid)}

    async def revoke_session(self, parameters: OneResource, _: Caller) -> Payload:
        """End a session by its name."""
        await self._auth.revoke(parameters.uuid)
        return {}

    async def update_account(self, parameters: calls.UpdateAccountParameters, caller: Caller) -> Payload:
        """Change a password; the caller's own session goes on."""
        password = parameters.password.get_secret_value()
        if not await self._auth.change_password(parameters.uuid, password, keep=caller.session_hash):
            raise not_found(AccountInventory, parameters.uuid)
        return {"inventory": await shown(self._database, AccountInventory, parameters.uuid)}

    async def create_access_key(self, parameters: calls.CreateAccessKeyParameters, caller: Caller) -> Payload:
        """Make an access key."""
        given = parameters.AccessKeySecret
        uuid, secret = await self._keys.create(
            parameters.accountUuid or caller.account_uuid,
            parameters.description,
            parameters.AccessKeyID,
            given.get_secret_value() if given else None,
        )
        return {"inventory": await shown(self._database, AccessKeyInventory, uuid) | {"AccessKeySecret": secret}}

    async def delete_access_key(self, parameters: OneResource, _: Caller) -> Payload:
        """Delete an access key."""
        await self._keys.delete(parameters.uuid)
        return {}
