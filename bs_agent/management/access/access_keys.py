"""Access keys: made here or by the caller, kept encrypted, and shown once. `signature.py` checks what they sign."""

import secrets
import string
from dataclasses import dataclass, field
from uuid import uuid4

from bs_agent.contract.errors import InvalidArgument, OperationFailed
from bs_agent.contract.inventory import AccountInventory
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.access_keys import AccessKeyStore
from bs_agent.management.store.queries import not_found

MOST_KEYS = 100

_ID_LENGTH, _SECRET_LENGTH = 20, 40
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Whom a key acts for, and its secret."""

    account_uuid: str
    account_name: str
    secret: str = field(repr=False)


class AccessKeys:
    """Makes, reveals and deletes access keys."""

    def __init__(self, store: AccessKeyStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    async def create(
        self, account_uuid: str, description: str | None, key_id: str | None, secret: str | None
    ) -> tuple[str, str]:
        """Make a key for an account; returns its uuid and its secret.

        Raises:
            ResourceNotFound: there is no such account.
            InvalidArgument: another key has this id.
            OperationFailed: the account has as many keys as it may have.
        """
        uuid, secret = uuid4().hex, secret or _random(_SECRET_LENGTH)
        row = {"accountUuid": account_uuid, "description": description, "keySecret": self._keyring.encrypt(secret)}
        row["AccessKeyID"] = key_id or _random(_ID_LENGTH)
        match await self._store.add(uuid, row, MOST_KEYS):
            case "no account":
                raise not_found(AccountInventory, account_uuid, "accountUuid")
            case "id taken":
                raise InvalidArgument("field[AccessKeyID]: another key has this id")
            case "too many":
                raise OperationFailed(f"the account has {MOST_KEYS} access keys; delete some of them")
        return uuid, secret

    async def reveal(self, key_id: str) -> AccessKey | None:
        """Return the key of this id with its secret, for who checks a signature.

        Raises:
            SecretsError: it was encrypted with another key file.
        """
        found = await self._store.find(key_id)
        if found is None:
            return None
        return AccessKey(found.account_uuid, found.account_name, self._keyring.decrypt(found.encrypted))

    async def delete(self, uuid: str) -> None:
        """Delete a key; an unknown one is deleted already."""
        await self._store.delete(uuid)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
