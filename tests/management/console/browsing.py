"""A real browser that looks at a real management node with 10,000 storages, and a real agent beside it.

What a page says on its console, what it breaks of its policy, and what it asks of anybody else is held against it.
"""

import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright, expect
from sqlalchemy import insert

from bs_agent.contract.report import CEPH, IMAGESTORE
from bs_agent.management.store.database import Database
from bs_agent.management.store.past_tables import capacity_history
from bs_agent.management.store.upkeep import learn
from tests.beds import databases
from tests.beds.agent import AgentProcess
from tests.beds.inventory import fill, storages
from tests.beds.node import NodeClient, NodeProcess, client_of

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--disable-gpu", "--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
MANY = 10_000
POOL = "images-00020"
"""A pool whose past is known."""
ARTEFACTS = Path(__file__).parents[3] / "build" / "console"
"""Where the pictures go."""
PICTURED = {"log-in", "fleet", "storage", "ceph", "delete", "add", "agents", "events", "jobs", "debts"}

WIDE: ViewportSize = {"width": 1280, "height": 860}

_PATIENCE = 60_000.0
_VIOLATIONS = """
addEventListener("securitypolicyviolation", (broken) =>
  console.error(`policy: ${broken.violatedDirective} ${broken.blockedURI}`));
"""
_AWAY = {
    IMAGESTORE: (
        ("AgentUnreachable", "10.3.1.{}:7765: Connection refused"),
        ("DirectoryHung", "/zstack_imagestore did not answer within 10 s"),
        ("CertificateChanged", "10.3.1.{}:7765 shows the certificate 3f9a41c2..."),
        ("MarkerMissing", "/zstack_imagestore/.bs-agent.json is not there"),
    ),
    CEPH: (("NoQuorum", "1 of 3 mons answers"), ("ClusterUnreachable", "no mon answered within 10 s")),
}


@dataclass
class Bed:
    """The node, its agent and the browser; `state` are the cookies of who is logged in."""

    node: NodeProcess
    agent: AgentProcess
    browser: Browser
    client: NodeClient
    state: Any = None

    def code(self) -> str:
        """Let the agent make a code, as an operator does on its host."""
        return self.agent.run("enroll", "--label", "console").stdout.strip()

    @asynccontextmanager
    async def tab(self, *, script: bool = True, logged_in: bool = True) -> AsyncIterator["Tab"]:
        """Open a tab, and hold against it what it should not have done."""
        state = self.state if logged_in else None
        context = await self.browser.new_context(
            base_url=self.node.url, viewport=WIDE, java_script_enabled=script, storage_state=state,
            reduced_motion="reduce",
        )  # fmt: skip
        context.set_default_timeout(_PATIENCE)
        try:
            yield await _watched(context, self.node)
        finally:
            await context.close()


@dataclass
class Tab:
    """A page and what was seen of it."""

    page: Page
    node: NodeProcess
    faults: list[str] = field(default_factory=list)

    async def go(self, path: str) -> None:
        """Go to a page of the console."""
        await self.page.goto(path)

    async def log_in(self) -> None:
        """Log in by the form that is shown."""
        await self.page.fill("#password", self.node.password)
        await self.page.click("text=Log in")
        await self.page.wait_for_selector("#fleet")

    async def picture(self, name: str, look: str) -> None:
        """Keep a picture of what is to be seen, of the pages that look like no other."""
        if name in PICTURED:
            ARTEFACTS.mkdir(parents=True, exist_ok=True)
            await self.page.screenshot(path=ARTEFACTS / f"{name}-{look}.png")

    @property
    async def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        wide = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return int(wide)


async def _watched(context: BrowserContext, node: NodeProcess) -> Tab:
    await context.add_init_script(_VIOLATIONS)
    tab = Tab(await context.new_page(), node)

    def note(kind: str, text: str) -> None:
        tab.faults.append(f"{kind}: {text}")

    tab.page.on("console", lambda said: note("console", said.text) if said.type in {"error", "warning"} else None)
    tab.page.on("pageerror", lambda error: note("error", str(error)))
    tab.page.on("request", lambda sent: note("elsewhere", sent.url) if not sent.url.startswith(node.url) else None)
    return tab


def rows_of(count: int) -> list[dict[str, Any]]:
    """Return the rows of a fleet as it may be: most are well, some are full, old, gone or not well."""
    now, rows = int(time.time()), storages(count)
    for at, row in enumerate(rows):
        row["name"] = f"images-{at:05}"
        row["availableCapacity"] = row["totalCapacity"] * (at * 7919 % 83 + 12) // 100
        row["capacityDate"] = now - at * 31 % 2400
        row["statusReason"], row["status"] = None, "Connected"
        if at % 61 == 7:
            code, details = _AWAY[row["type"]][at // 61 % len(_AWAY[row["type"]])]
            row["statusReason"] = {"code": code, "details": details.format(at % 250)}
            row["status"], row["capacityStale"], row["capacityDate"] = "Disconnected", True, now - 3600 * (at % 70 + 1)
        elif at % 97 == 3:
            row["statusReason"] = {"code": "ReadOnly", "details": "/zstack_imagestore is mounted read-only"}
        elif at % 151 == 5:
            row["availableCapacity"] = row["totalCapacity"] // 50
        elif at % 701 == 9:
            row["status"] = "Connecting"
        row["state"] = "Disabled" if at % 211 == 8 else "Enabled"
    return rows


def history_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how a storage has filled in the last month, with a day of which nothing is known."""
    now, entries = int(time.time()), []
    for resolution, length in ((60, 86400), (3600, 31 * 86400), (86400, 400 * 86400)):
        step = max(resolution, 1200)
        for slot in range(now - now % resolution - length + resolution, now + 1, step):
            age = (now - slot) / 86400
            if 9 < age < 10:
                continue
            used = row["poolStored"] - int(1.1e10 * age + 6e9 * math.sin(age * 6.3))
            entry = {"backupStorageUuid": row["uuid"], "resolution": resolution, "slot": slot - slot % resolution}
            entry |= {"totalCapacity": row["totalCapacity"], "poolStored": max(used, 0), "poolUsedCapacity": 3 * used}
            entry |= {"poolMaxAvail": row["poolMaxAvail"] + row["poolStored"] - used}
            left = row["availableCapacity"] + 3 * (row["poolStored"] - used)
            entries.append(entry | {"availableCapacity": min(left, row["totalCapacity"])})
    return entries


async def fill_all(database: Database, rows: list[dict[str, Any]]) -> None:
    """Write the storages, and how one of them was."""
    pool = next((row for row in rows if row["name"] == POOL), None)
    sizes: dict[str, Any] = {
        "poolStored": 26 * 10**10,
        "poolMaxAvail": 21 * 10**10,
        "poolAvailableCapacity": 22 * 10**10,
    }
    sizes |= {"poolUsedCapacity": 78 * 10**10, "poolReplicatedSize": 3, "poolSecurityPolicy": "Copy"}
    for row in rows:  # of several at once only the first one's columns are written
        row.update(dict.fromkeys(sizes))
    if pool:
        pool |= sizes | {"totalCapacity": 18 * 10**11, "availableCapacity": 8 * 10**11}
    await fill(database, rows, agents=False)
    if pool:
        async with database.writing() as connection:
            await connection.execute(insert(capacity_history), history_of(pool))
    await learn(database, -1)


@asynccontextmanager
async def bed(folder: Path) -> AsyncIterator[Bed]:
    """Run all of it while the context is open."""
    (folder / "node").mkdir(parents=True)
    database = Database.connect(databases.sqlite_with_tables(folder / "node"))
    await fill_all(database, rows_of(MANY))
    await database.close()
    node = NodeProcess(folder / "node", {"poll": {"interval": 2.0, "timeout": 2.0}})
    with node:
        agent = AgentProcess(folder / "agent")
        agent.start()
        try:
            expect.set_options(timeout=_PATIENCE)
            async with client_of(node) as client, async_playwright() as started:
                browser = await started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
                running = Bed(node, agent, browser, client)
                async with running.tab() as tab:
                    await tab.go("/")
                    await tab.log_in()
                    running.state = await tab.page.context.storage_state()
                yield running
                await browser.close()
        finally:
            agent.stop()
