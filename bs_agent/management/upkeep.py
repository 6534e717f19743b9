"""What the commands for an operator's rarer work do: backup, restore, another key, another address of a host."""

import asyncio
from pathlib import Path

from bs_agent.management import backup as backups
from bs_agent.management.app import opened
from bs_agent.management.config import ManagementSettings
from bs_agent.management.secrets import KEY_FILE, Keyring
from bs_agent.management.store.upkeep import reencrypt, rename_host

SQLITE = "sqlite:///"


class UpkeepError(Exception):
    """What was asked for cannot be done."""


async def backup(settings: ManagementSettings, target: Path) -> str:
    """Write the database and its key file to `target`; returns what was done as a sentence."""
    await asyncio.to_thread(backups.backup, _database_file(settings), _key_file(settings), target)
    return f"saved to {target}; keep it as safe as the node itself: it opens every agent"


async def restore(settings: ManagementSettings, source: Path) -> str:
    """Put a backup into the places that the configuration names; returns what was done as a sentence."""
    await asyncio.to_thread(backups.restore, source, _database_file(settings), _key_file(settings))
    return f"restored from {source}; start the management node now"


async def rotate_key(settings: ManagementSettings) -> str:
    """Encrypt all secrets with a new key; nodes that run go on. Returns what was done as a sentence.

    A crash in between loses nothing: at every moment the file holds the keys of all stored secrets.
    """
    keyring = Keyring.open(settings.state.directory)

    def convert(secret: str) -> str:
        return keyring.encrypt(keyring.decrypt(secret))

    async with opened(settings.database.url) as database:
        await reencrypt(database, convert)  # so that none depends on the key that now falls out of the file
        keyring.add_key()
        count = await reencrypt(database, convert)
    return f"{count} secrets are encrypted with a new key; make a backup, and copy {_key_file(settings)} to other nodes"


async def move_host(settings: ManagementSettings, old: str, new: str) -> str:
    """Reach a host at another address from now on; returns what was done as a sentence.

    Raises:
        UpkeepError: no host is known as `old`, or one is as `new`.
    """
    async with opened(settings.database.url) as database:
        agents, storages = await rename_host(database, old, new)
    if not agents:
        raise UpkeepError(f"no agent is known as {old}, or one is known as {new} already; nothing was changed")
    return f"{storages} ImageStores of {old} are reached at {new} from now on; a node that runs follows within a minute"


def _database_file(settings: ManagementSettings) -> Path:
    url = settings.database.url
    if not url.startswith(SQLITE):
        raise UpkeepError(
            f"the database is PostgreSQL: save it with pg_dump, and keep a copy of {_key_file(settings)} with the dump"
        )
    return Path(url.removeprefix(SQLITE).partition("?")[0])


def _key_file(settings: ManagementSettings) -> Path:
    return settings.state.directory / KEY_FILE
