"""The list of storages: its order, its filters, its pages, its totals."""

import re

import pytest

from bs_agent.contract.report import CEPH
from tests.management.console.looking import Looker, Shown
from tests.management.server import Server, ceph_row, storage_row

pytestmark = pytest.mark.asyncio

REASON = {"code": "ReadOnly", "details": "/images is mounted read-only"}


async def fleet(server: Server) -> None:
    await server.store(
        storage_row(name="well", availableCapacity=9 * 10**12),
        storage_row(name="ill", statusReason=REASON),
        storage_row(name="full", availableCapacity=0),
        storage_row(name="gone", status="Disconnected", capacityStale=True, hostname="10.0.0.7"),
        storage_row(name="coming", status="Connecting", state="Disabled"),
        ceph_row(name="pool"),
    )


def listed(shown: Shown) -> list[str]:
    return re.findall(r'<a id="s-\w+" href="/storages/\w+">([^<]*)</a>', shown.text)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("", ["gone", "coming", "full", "ill", "pool", "well"]),
        ("?sort=name", ["coming", "full", "gone", "ill", "pool", "well"]),
        ("?sort=free", ["full", "coming", "gone", "ill", "pool", "well"]),
        ("?show=trouble", ["gone", "coming", "full", "ill"]),
        ("?show=attention", ["full", "ill"]),
        ("?show=away", ["gone"]),
        ("?show=connecting", ["coming"]),
        ("?show=well", ["pool", "well"]),
        ("?show=disabled", ["coming"]),
        (f"?type={CEPH}", ["pool"]),
        ("?q=LL", ["full", "ill", "well"]),
        ("?q=hostname=10.0.0.7", ["gone"]),
        ("?q=availableCapacity<5", ["full"]),
        ("?q=description is null", []),
        ("?q=status!=Connected&show=away", ["gone"]),
        ("?zone=nowhere", []),
        ("?page=2", []),
        ("?page=x&sort=x&show=x&type=x", ["gone", "coming", "full", "ill", "pool", "well"]),
    ],
)
async def test_what_the_url_asks_for_is_listed(asked: str, names: list[str], server: Server, browser: Looker) -> None:
    await fleet(server)
    found = listed(await browser.get(f"/{asked}"))
    alike = {"?sort=free": names[:1]}.get(asked, names)
    assert found[: len(alike)] == alike
    assert sorted(found) == sorted(names)
    assert listed(await browser.get(f"/{asked}", HX_Request="true")) == found


@pytest.mark.parametrize(
    "text", ["nothing=7", "name=", "a" * 3000, "\0", "totalCapacity>many", "%ff", "mons.nothing=1"]
)
async def test_a_text_that_can_not_be_searched_for_is_told(text: str, server: Server, browser: Looker) -> None:
    await fleet(server)
    shown = await browser.get("/?" + "q=" + text.replace("\0", "%00").replace(" ", "+"))
    assert shown.status in {200, 400}
    assert "storages" in shown.words or "NUL" in shown.words


async def test_the_totals_count_every_storage(server: Server, browser: Looker) -> None:
    await fleet(server)
    words = (await browser.get("/?q=nothing-has-this-name")).words
    assert "6 storages 1 Disconnected 1 Connecting 2 Attention 2 Connected" in words
    assert "No storage fits" in words


async def test_each_row_says_why_and_what_to_do(server: Server, browser: Looker) -> None:
    await fleet(server)
    words = (await browser.get("/")).words
    for text in (
        "The file system is mounted read-only. /images is mounted read-only What to do: Look for disk errors",
        "A twentieth of the room is left at most. What to do: Remove images",
        "The numbers are older than they should be.",
    ):
        assert text in words


async def test_an_empty_fleet_shows_the_way(browser: Looker) -> None:
    shown = await browser.get("/")
    assert 'href="/add">Add a storage' in shown.text


async def test_pages_follow_one_another_without_overlap(server: Server, browser: Looker) -> None:
    await server.store(*(storage_row(name=f"store-{at:03}") for at in range(120)))
    path, seen = "/?sort=name", []
    for _ in range(3):
        shown = await browser.get(path)
        seen += listed(shown)
        if following := re.search(r'rel="next" href="([^"]*)"', shown.text):
            path = following[1].replace("&amp;", "&")
    assert seen == [f"store-{at:03}" for at in range(120)]
    assert "120 found, page 3 of 3" in shown.words
