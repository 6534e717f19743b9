"""A management node in this process on port 0, over a real database; its fleet has rows but no hosts."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any
from uuid import uuid4

import aiohttp
from argon2 import PasswordHasher
from cryptography.fernet import Fernet
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bs_agent.contract.api import AddImageStoreParameters, DeleteMode
from bs_agent.contract.calls_ceph import (
    AddCephParameters,
    AddMonParameters,
    RemoveMonParameters,
    UpdateMonParameters,
)
from bs_agent.contract.deletion import DeletePreviewInventory
from bs_agent.contract.errors import ApiError, ResourceNotFound
from bs_agent.contract.inventory import CephBackupStorageMonInventory
from bs_agent.contract.monurl import parse_mon_url
from bs_agent.contract.report import CEPH, IMAGESTORE
from bs_agent.daemon.configuration import Address
from bs_agent.daemon.http import serving
from bs_agent.management.access.access_keys import AccessKeys
from bs_agent.management.access.scrape_tokens import ScrapeTokens
from bs_agent.management.access.sessions import ADMIN, ADMIN_UUID, Auth
from bs_agent.management.access.signature import Signatures
from bs_agent.management.api.calls import Calls
from bs_agent.management.api.routes import Services, application
from bs_agent.management.api.scraping import Scraping
from bs_agent.management.api.use_cases import use_cases
from bs_agent.management.config import HookSettings, JobSettings, SessionSettings
from bs_agent.management.console import asking
from bs_agent.management.console.routes import open_console
from bs_agent.management.jobs.hooks import Hooks
from bs_agent.management.jobs.jobs import Jobs
from bs_agent.management.metrics.registry import Metrics
from bs_agent.management.operations.acts import Acts
from bs_agent.management.secrets import Keyring
from bs_agent.management.store.access_keys import AccessKeyStore
from bs_agent.management.store.accounts import Account, AccountStore
from bs_agent.management.store.database import Database
from bs_agent.management.store.figures import places
from bs_agent.management.store.leases import Node
from bs_agent.management.store.queries import find, not_found
from bs_agent.management.store.resources import claim, release
from bs_agent.management.store.scrape_tokens import ScrapeTokenStore
from bs_agent.management.store.signatures import SignatureStore
from bs_agent.management.store.tables import backup_storage, host, node

PASSWORD = "correct horse battery"
_KEY = Fernet.generate_key()


quick_hasher = partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)


@cache
def _password_hash() -> str:
    return quick_hasher().hash(hashlib.sha512(PASSWORD.encode()).hexdigest())


def storage_row(**values: Any) -> dict[str, Any]:
    """Return the row of an ImageStore."""
    row = {
        "uuid": uuid4().hex,
        "name": "image-store",
        "description": "",
        "url": "/zstack_imagestore",
        "type": IMAGESTORE,
        "state": "Enabled",
        "status": "Connected",
        "totalCapacity": 9992857976832,
        "availableCapacity": 4931431059456,
        "capacityStale": False,
        "hostname": "172.20.1.115",
        "username": "root",
        "sshPort": 22,
        "createDate": 1523458254,
        "lastOpDate": 1576265569,
    }
    return row | values


def ceph_row(**values: Any) -> dict[str, Any]:
    """Return the row of a Ceph storage."""
    here = dict.fromkeys(("hostname", "username", "sshPort"))
    ceph = {"name": "ceph-bs", "url": "not used", "type": CEPH, "fsid": "d53902bc-ff50-4d08-8769-9d83448478d3"}
    pool = {"poolName": "bak", "poolReplicatedSize": 3, "poolUsedCapacity": 2787687082}
    return storage_row(**{**here, **ceph, **pool, **values})


async def put_storage(connection: AsyncConnection, row: Mapping[str, Any]) -> None:
    """Write the row of a storage, and the one that it hangs on."""
    await claim(connection, "BackupStorageVO", row["uuid"])
    await connection.execute(insert(backup_storage).values(row))


def mon_row(storage: str, hostname: str, port: int = 6789) -> dict[str, Any]:
    """Return the row of a mon host."""
    place = {"hostname": hostname, "monAddr": hostname, "monPort": port, "sshPort": 22, "sshUsername": "root"}
    dates = {"createDate": 1576316766, "lastOpDate": 1576322506}
    return {"monUuid": uuid4().hex, "backupStorageUuid": storage, "status": "Connected"} | place | dates


async def living_node(database: Database, uuid: str) -> None:
    """Let there be another management node, which lives for as long as a lease may be."""
    async with database.writing() as connection:
        until = await database.now(connection) + 600
        await connection.execute(insert(node).values(uuid=uuid, leaseDate=until))


async def lost_node(database: Database, uuid: str) -> None:
    """Let the lease of a management node run out."""
    async with database.writing() as connection:
        gone = await database.now(connection) - 1
        await connection.execute(update(node).where(node.c.uuid == uuid).values(leaseDate=gone))


@dataclass
class TableFleet:
    """Keeps storages in the database; what `hold` names waits, and what `fail` names fails."""

    database: Database
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    fail: ApiError | None = None

    @property
    def acts(self) -> Acts:
        """What the calls do."""
        return Acts(
            self.add_image_store, self.add_ceph, self.reconnect, self.delete, self.preview, self.add_mons,
            self.remove_mons, self.update_mon,
        )  # fmt: skip

    async def add_image_store(self, parameters: AddImageStoreParameters) -> str:
        now = int(time.time())
        shown = parameters.model_dump(include={"name", "description", "url", "hostname", "username", "sshPort"})
        row = storage_row(**shown, createDate=now, lastOpDate=now)
        async with self.database.writing() as connection:
            await put_storage(connection, row)
        return str(row["uuid"])

    async def add_ceph(self, parameters: AddCephParameters) -> str:
        pool = parameters.poolName or f"bak-t-{uuid4().hex}"
        row = ceph_row(name=parameters.name, description=parameters.description, poolName=pool)
        async with self.database.writing() as connection:
            await put_storage(connection, row)
        await self._add_mons(row["uuid"], parameters.monUrls)
        return str(row["uuid"])

    async def add_mons(self, parameters: AddMonParameters) -> None:
        await self._add_mons(parameters.uuid, parameters.monUrls)

    async def remove_mons(self, parameters: RemoveMonParameters) -> None:
        gone = host.c.backupStorageUuid == parameters.uuid, host.c.hostname.in_(parameters.monHostnames)
        async with self.database.writing() as connection:
            await connection.execute(delete(host).where(*gone))

    async def update_mon(self, parameters: UpdateMonParameters) -> str:
        values = parameters.model_dump(include={"hostname", "sshPort", "monPort"}, exclude_none=True)
        mine = host.c.monUuid == parameters.monUuid
        async with self.database.writing() as connection:
            storage = (await connection.execute(select(host.c.backupStorageUuid).where(mine))).scalar()
            if storage is None:
                raise not_found(CephBackupStorageMonInventory, parameters.monUuid, "monUuid")
            await connection.execute(update(host).where(mine).values(**values, lastOpDate=int(time.time())))
        return str(storage)

    async def _add_mons(self, storage: str, urls: Sequence[str]) -> None:
        mons = [mon_row(storage, mon.hostname, mon.mon_port or 6789) for mon in map(parse_mon_url, urls)]
        async with self.database.writing() as connection:
            await connection.execute(insert(host), mons)

    async def reconnect(self, uuid: str, system_tags: Sequence[str] = ()) -> None:
        if "hold" in system_tags:
            await self.hold.wait()
        if self.fail:
            raise self.fail
        async with self.database.reading() as connection:
            if (await connection.execute(select(backup_storage).where(backup_storage.c.uuid == uuid))).first() is None:
                raise ResourceNotFound(f"invalid field[uuid], resource[uuid:{uuid}, type:BackupStorageVO] not found")

    async def preview(self, uuid: str, system_tags: Sequence[str] = ()) -> DeletePreviewInventory:
        refused = bool(self.fail)
        return DeletePreviewInventory(uuid=uuid, name="a name", permissive="Refused" if refused else "Deleted")

    async def delete(self, uuid: str, mode: DeleteMode, system_tags: Sequence[str] = ()) -> None:
        if self.fail and mode == "Permissive":
            raise self.fail
        async with self.database.writing() as connection:
            await release(connection, "BackupStorageVO", uuid)


@dataclass
class Server:
    """A running server, and a client of it that is logged in."""

    address: Address
    database: Database
    fleet: TableFleet
    auth: Auth
    jobs: Jobs
    hooks: Hooks
    node: Node
    http: aiohttp.ClientSession
    session: str

    @property
    def url(self) -> str:
        """What stands before the paths of the API."""
        return f"http://{self.address}/zstack/v1"

    async def call(
        self, method: str, path: str, *, oauth: str | None = None, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[int, Any]:
        """Send a request in the session; returns status and decoded body."""
        sent = {"Authorization": f"OAuth {self.session if oauth is None else oauth}"} | (headers or {})
        async with self.http.request(method, self.url + path, headers=sent, **more) as response:
            return response.status, await response.json()

    def lose_lease(self) -> None:
        """Let the node find that its lease has run out."""
        for lost in self.node._lost:
            lost()

    async def query(self, **parameters: Any) -> tuple[int, Any]:
        """Query backup storages; several conditions are a list."""
        return await self.call("GET", "/backup-storage", params=parameters)

    async def store(self, *rows: dict[str, Any]) -> None:
        """Put rows of backup storages into the database."""
        async with self.database.writing() as connection:
            for row in rows:  # one by one: of several at once only the first one's columns are written
                await put_storage(connection, row)


@asynccontextmanager
async def serving_node(
    database: Database,
    *,
    jobs: JobSettings | None = None,
    sessions: SessionSettings | None = None,
    hooks: HookSettings | None = None,
) -> AsyncIterator[Server]:
    """Serve while the context is open."""
    async with AsyncExitStack() as stack:
        auth = await stack.enter_async_context(Auth.open(AccountStore(database), sessions or SessionSettings()))
        await AccountStore(database).add_account(Account(ADMIN_UUID, ADMIN, _password_hash()))
        this = await stack.enter_async_context(Node.open(database))
        told = await stack.enter_async_context(Hooks.open(database, this, hooks or HookSettings()))
        running = await stack.enter_async_context(Jobs.open(database, this, jobs or JobSettings(), told))
        fleet = TableFleet(database)
        keys = AccessKeys(AccessKeyStore(database), Keyring(_KEY, "the key of the tests"))
        metrics = Metrics()

        async def no_agent(_uuid: str, _accept: str) -> None:
            return None

        calls = Calls(use_cases(auth, keys, fleet.acts, database), partial(find, database), running)
        services = Services(
            auth=auth,
            signatures=await stack.enter_async_context(Signatures.open(keys, SignatureStore(database))),
            jobs=running,
            hooks=told,
            calls=calls,
            ready=database.ping,
            metrics=metrics,
            scraping=Scraping(metrics, ScrapeTokens(ScrapeTokenStore(database)), lambda: places(database), no_agent),
        )
        app = application(services)
        open_console(app, asking.Services(auth, running, calls))
        address = await stack.enter_async_context(serving(app, Address("127.0.0.1", 0), None))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        opened = await auth.log_in("admin", PASSWORD, "127.0.0.1")
        yield Server(address, database, fleet, auth, running, told, this, client, opened.secret)
