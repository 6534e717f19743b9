"""The first page of the console over 10,000 storages, on the server and in a browser, beside the same over 1,000.

Budget: 200 ms on the server, 1 s in the browser until all of it is there. Figures of a page that is asked for again and
again; the browser keeps nothing but the files.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which

from playwright.async_api import async_playwright

from bs_agent.management.store.database import Database
from tests.beds import databases
from tests.bench.figures import Beside, Figure, at_most, tell
from tests.management.console.browsing import ARGUMENTS, CHROMIUM, WIDE, fill_all, rows_of
from tests.management.console.looking import looker
from tests.management.server import PASSWORD, Server, serving_node

SIZES = (1_000, 10_000)
ROUNDS = 10 if "--quick" in sys.argv else 30
ON_SERVER, IN_BROWSER = 200.0, 1000.0
PAGES = {"the fleet": "/", "its refresh": "/", "searched": "/?q=images-007", "the last page": "/?page=200"}


async def median(work: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Return the median of many runs in milliseconds; the first one, which loads the template, does not count."""
    spent = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        await work()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent[1:]) * 1000


@asynccontextmanager
async def filled(folder: Path, size: int) -> AsyncIterator[Server]:
    """Serve a node with so many storages while the context is open."""
    folder.mkdir()  # noqa: ASYNC240  it takes no time
    database = Database.connect(databases.sqlite_with_tables(folder))
    await fill_all(database, rows_of(size))
    async with serving_node(database) as server:
        yield server
    await database.close()


async def on_server(server: Server) -> dict[str, float]:
    """Return how long each page takes until its last byte is there."""
    async with looker(server) as browser:
        await browser.log_in()

        async def ask(path: str, headers: dict[str, str]) -> None:
            shown = await browser.get(path, **headers)
            if shown.status != 200:
                raise RuntimeError(shown.words)

        return {
            name: await median(lambda: ask(path, {"HX_Request": "true"} if "refresh" in name else {}), ROUNDS)  # noqa: B023
            for name, path in PAGES.items()
        }


async def in_browser(server: Server) -> float:
    """Return how long the first page takes in a browser until all of it is loaded."""
    async with async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await (await browser.new_context(viewport=WIDE)).new_page()
        await page.goto(f"http://{server.address}/")
        await page.fill("#password", PASSWORD)
        await page.click("text=Log in")
        await page.wait_for_selector("#fleet")
        taken = await median(lambda: page.goto(f"http://{server.address}/"), max(5, ROUNDS // 3))
        await browser.close()
    return taken


async def main() -> int:
    """Measure, and tell the figures."""
    with tempfile.TemporaryDirectory() as folder:
        async with filled(Path(folder, "few"), SIZES[0]) as few, filled(Path(folder, "many"), SIZES[1]) as many:
            before, after = await on_server(few), await on_server(many)
            kept = [
                tell(
                    Figure(
                        name=f"console, {SIZES[1]:,}: {name}",
                        value=after[name],
                        unit="ms",
                        limit=Beside(name=f"among {SIZES[0]:,}", value=before[name]),
                        budget=at_most(ON_SERVER),
                    )
                )
                for name in PAGES
            ]
            if which(CHROMIUM):
                shown = Figure(
                    name=f"console, {SIZES[1]:,}: the fleet in a browser",
                    value=await in_browser(many),
                    unit="ms",
                    limit=Beside(name="its answer alone", value=after["the fleet"]),
                    budget=at_most(IN_BROWSER),
                )
                kept.append(tell(shown))
            else:
                print("the browser is left out: chromium is not installed")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
