"""What the commands of bs-management do beside serving: tables, password, backup, restore, keys, addresses."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bs_agent.contract.errors import ApiError
from bs_agent.contract.uuids import one_form
from bs_agent.daemon.certificate import CertificateError
from bs_agent.management import backup as backups
from bs_agent.management.access.scrape_tokens import MAX_LABEL, ScrapeTokens
from bs_agent.management.access.sessions import ADMIN, MIN_PASSWORD, Auth
from bs_agent.management.config import ManagementSettings
from bs_agent.management.secrets import KEY_FILE, Keyring, SecretsError
from bs_agent.management.store.accounts import AccountStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.schema import SchemaError, opened
from bs_agent.management.store.schema import migrate as bring_up
from bs_agent.management.store.scrape_tokens import ScrapeTokenStore

SQLITE = "sqlite:///"


class CommandError(Exception):
    """What was asked for cannot be done."""


FAULTS = (CommandError, backups.BackupError, SchemaError, SecretsError, CertificateError, ApiError, OSError)
"""What ends a command with one sentence instead of a traceback."""


async def migrate(settings: ManagementSettings) -> str:
    """Bring the database to this version's tables; returns what was done."""
    database = Database.connect(settings.database.url)
    try:
        return await bring_up(database)
    finally:
        await database.close()


async def set_password(settings: ManagementSettings, name: str, password: str) -> None:
    """Set an account's password and end its sessions.

    Raises:
        CommandError: the password is too short, or there is no such account.
    """
    if len(password) < MIN_PASSWORD:
        raise CommandError(f"the password must have at least {MIN_PASSWORD} characters")
    async with opened(settings.database.url) as database, Auth.open(AccountStore(database), settings.session) as auth:
        if name == ADMIN:
            await auth.ensure_admin()
        if not await auth.set_password(name, password):
            raise CommandError(f"there is no account {name}")


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
    from bs_agent.management.store.upkeep import reencrypt  # noqa: PLC0415  heavy

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
        CommandError: `new` is no address, no host is known as `old`, or another one is as `new`.
    """
    from bs_agent.contract.calls_storage import Host  # noqa: PLC0415  heavy, and only this command needs it
    from bs_agent.management.store.upkeep import rename_host  # noqa: PLC0415  heavy

    try:
        TypeAdapter(Host).validate_python(new)
    except ValidationError:
        raise CommandError(f"NEW must be a host name or an IP address, not {new!r}") from None
    async with opened(settings.database.url) as database:
        try:
            _, storages = await rename_host(database, old, new)
        except ApiError as error:
            raise CommandError(f"{error.details}; nothing was changed") from None
    return f"{storages} backup storages of {old} are there as {new} from now on; a node that runs follows in a minute"


async def add_scrape_token(settings: ManagementSettings, label: str) -> str:
    """Make a token by which the metrics of all nodes of the database are scraped; returns it.

    Raises:
        CommandError: the label is too long.
    """
    if not label.isprintable() or not 1 <= len(label) <= MAX_LABEL:
        raise CommandError(f"the label must have 1 to {MAX_LABEL} printable characters")
    async with opened(settings.database.url) as database:
        return await ScrapeTokens(ScrapeTokenStore(database)).make(label)


async def list_scrape_tokens(settings: ManagementSettings) -> str:
    """Return a line for each token: its id, when it was made, its label."""
    async with opened(settings.database.url) as database:
        tokens = await ScrapeTokenStore(database).all()
    made = (datetime.fromtimestamp(token.created, UTC) for token in tokens)
    return "\n".join(f"{one.uuid}  {at:%Y-%m-%d %H:%M:%SZ}  {one.label}" for one, at in zip(tokens, made, strict=True))


async def remove_scrape_token(settings: ManagementSettings, uuid: str) -> str:
    """Take a token away; returns what was done as a sentence.

    Raises:
        CommandError: there is none of this id.
    """
    async with opened(settings.database.url) as database:
        if not await ScrapeTokenStore(database).delete(one_form(uuid)):
            raise CommandError(f"there is no token {uuid}: `bs-management scrape-tokens list` shows those there are")
    return "removed; it is refused from now on"


def _database_file(settings: ManagementSettings) -> Path:
    url = settings.database.url
    if not url.startswith(SQLITE):
        raise CommandError(
            f"the database is PostgreSQL: save it with pg_dump, and keep a copy of {_key_file(settings)} with the dump"
        )
    return Path(url.removeprefix(SQLITE).partition("?")[0])


def _key_file(settings: ManagementSettings) -> Path:
    return settings.state.directory / KEY_FILE
