"""The console in a real browser: what an operator does with it, by mouse, by keyboard alone, and without script.

At the end each page is looked at in light, in dark and narrow: axe-core finds nothing, nothing is cut off, and pictures
are kept. All in one file, so that one process runs them with one node and one browser.
"""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import axe_playwright_python
import pytest
import pytest_asyncio
from playwright.async_api import Page, ViewportSize, expect

from tests.management.console.browsing import CHROMIUM, MANY, POOL, WIDE, Bed, Tab

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="chromium is not installed (apt-get install chromium)"),
]

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
CONTRAST = "{runOnly: ['color-contrast']}"
NARROW: ViewportSize = {"width": 320, "height": 860}
PAGES = {
    "fleet": "/", "fleet-filtered": "/?show=attention&sort=name", "add": "/add", "add-ceph": "/add?kind=ceph",
    "agents": "/agents", "events": "/events", "jobs": "/jobs", "debts": "/debts", "zones": "/zones",
    "sessions": "/sessions", "access-keys": "/access-keys", "missing": "/storages/nothing",
}  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def tab(bed: Bed) -> AsyncIterator[Tab]:
    """A tab of who is logged in; in the end nothing may be held against it."""
    async with bed.tab() as opened:
        yield opened
        assert opened.faults == []


@pytest_asyncio.fixture(loop_scope="session")
async def plain(bed: Bed) -> AsyncIterator[Tab]:
    """The same without script."""
    async with bed.tab(script=False) as opened:
        yield opened
        assert opened.faults == []


async def add(page: Page, bed: Bed, folder: Path, name: str, host: str = "127.0.0.1") -> None:
    """Fill in the form, and send it."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240  it takes no time
    await page.goto("/add")
    await page.fill("#name", name)
    await page.fill("#hostname", host)
    await page.fill("#url", str(folder))
    await page.fill("#code", bed.code())
    await page.click("text=Add it")


async def test_log_in_and_look(bed: Bed) -> None:
    async with bed.tab(logged_in=False) as tab:
        await tab.go("/?show=away")
        await tab.page.fill("#password", "wrong")
        await tab.page.click("text=Log in")
        await expect(tab.page.get_by_role("alert")).to_have_text("wrong account name or password")
        assert len(tab.faults) == 1, "the browser itself tells of the status"
        tab.faults.clear()
        await tab.log_in()
        assert tab.page.url.endswith("/?show=away")
        await expect(tab.page.locator("tbody tr")).to_have_count(50)
        assert tab.faults == []


async def test_the_worst_is_first_with_its_reason_and_its_cure(tab: Tab) -> None:
    await tab.go("/")
    first = tab.page.locator("tbody tr").first
    await expect(first).to_contain_text("Disconnected")
    await expect(first).to_contain_text("What to do:")
    await expect(tab.page.locator(".tiles li").first).to_contain_text(f"{MANY:,}")


async def test_filters_change_the_list_and_the_url_at_once(tab: Tab) -> None:
    page = tab.page
    await tab.go("/")
    await page.fill("#q", "images-0006")
    await expect(page.locator("tbody tr")).to_have_count(10)
    assert "q=images-0006" in page.url
    await page.select_option("[name=show]", "away")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.reload()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("[name=show]")).to_have_value("away")
    await page.fill("#q", "nothing=7")
    await expect(page.get_by_role("alert")).to_be_visible()


async def test_the_list_is_true_while_it_stays_open(tab: Tab, bed: Bed) -> None:
    await tab.go("/?q=images-00042")
    row = tab.page.locator("tbody tr")
    uuid = (await row.locator("th a").get_attribute("href") or "").rpartition("/")[2]
    body = {"updateBackupStorage": {"name": "images-00042 renamed"}}
    await bed.client.call("PUT", f"/backup-storage/{uuid}/actions", body)
    await tab.page.evaluate("htmx.trigger('#fleet', 'refresh'), htmx.ajax('GET', '/?q=images-00042', '#fleet')")
    await expect(row).to_contain_text("renamed")


async def test_add_reconnect_and_delete(tab: Tab, bed: Bed, tmp_path: Path) -> None:
    page = tab.page
    await add(page, bed, tmp_path / "images", "new-images")
    await expect(page.get_by_text("Done")).to_be_visible()
    await page.click("text=Open new-images")
    await expect(page.locator(".head .sign")).to_have_text("Connected")
    await page.click("button:text-is('Reconnect')")
    await expect(page.get_by_text("Done")).to_be_visible()
    await page.click("text=Open new-images")
    await page.click("text=Delete ...")
    await expect(page.get_by_text("can be cleaned")).to_be_visible()
    await expect(page.locator("main")).to_contain_text(".bs-agent.json")
    await page.fill("#name", "new-image")
    await page.click("text=Delete it")
    await expect(page.get_by_role("alert")).to_contain_text("nothing was deleted")
    tab.faults.clear()  # the browser tells of the status
    await page.fill("#name", "new-images")
    await page.click("text=Delete it")
    await expect(page.get_by_text("Done")).to_be_visible()
    assert list((tmp_path / "images").iterdir()) == []


async def test_what_fails_says_why_and_leads_back_to_the_form(tab: Tab, bed: Bed, tmp_path: Path) -> None:
    page = tab.page
    await add(page, bed, tmp_path / "images", "elsewhere", host="127.0.0.9")
    await expect(page.get_by_role("alert")).to_contain_text("Nothing answers on the agent's port.")
    await expect(page.get_by_role("alert")).to_contain_text("What to do: Start the agent")
    await page.click("text=Back to the form")
    await expect(page.locator("#name")).to_have_value("elsewhere")
    await expect(page.locator("#code")).to_have_value("")


async def test_the_form_says_what_is_wrong_while_it_is_filled_in(tab: Tab) -> None:
    await tab.go("/add")
    await tab.page.fill("#url", "images")
    await tab.page.press("#url", "Tab")
    await expect(tab.page.locator("#checks")).to_contain_text("Directory: must be the absolute path")
    await tab.page.fill("#url", "/images")
    await tab.page.press("#url", "Tab")
    await expect(tab.page.locator("#checks")).to_contain_text("Still missing: Name")


async def test_a_keyboard_alone_will_do(bed: Bed) -> None:
    async with bed.tab(logged_in=False) as tab:
        page = tab.page
        await tab.go("/")
        await page.keyboard.type(bed.node.password)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#fleet")
        await page.keyboard.press("Tab")
        await expect(page.locator(":focus")).to_have_text("Skip to the content")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(page.locator(":focus")).to_have_id("q")
        await page.keyboard.type("images-00071")
        await expect(page.locator("tbody tr")).to_have_count(1)
        for _ in range(20):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.textContent") == "images-00071":
                break
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("images-00071")
        assert tab.faults == []


async def test_without_script_all_of_it_works(plain: Tab, bed: Bed, tmp_path: Path) -> None:
    page = plain.page
    await plain.go("/")
    await page.fill("#q", "images-0006")
    await page.click("text=Apply")
    await expect(page.locator("tbody tr")).to_have_count(10)
    await add(page, bed, tmp_path / "plain", "plain-images")
    await expect(page.get_by_text("Done")).to_be_visible()
    await page.click("text=Open plain-images")
    await page.click("text=Delete ...")
    await page.fill("#name", "plain-images")
    await page.click("text=Delete it")
    await expect(page.get_by_text("Done")).to_be_visible()


async def test_a_link_on_another_site_arrives_where_it_leads(tab: Tab) -> None:
    """As in an alert: the cookie is not sent with that, and yet nobody has to log in again."""
    other = tab.node.url.replace("127.0.0.1", "localhost")
    await tab.page.goto(f"{other}/log-in")
    await tab.page.evaluate(f"location.href = '{tab.node.url}/events?type=LogIn'")
    await expect(tab.page.locator("h1")).to_have_text("Events")
    assert tab.page.url == f"{tab.node.url}/events?type=LogIn"
    tab.faults[:] = [fault for fault in tab.faults if other not in fault]


async def test_a_refresh_that_fails_is_told(bed: Bed) -> None:
    async with bed.tab() as tab:
        await tab.go("/")
        await tab.page.context.set_offline(offline=True)
        await tab.page.fill("#q", "x")
        await expect(tab.page.get_by_role("alert")).to_contain_text("has not answered")


async def _looked_at(tab: Tab, name: str) -> list[str]:
    """Look at a page in light, in dark and through a narrow window; return what axe-core finds, and what is cut off."""
    page, found = tab.page, []
    await page.evaluate(AXE)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        # In dark nothing but the colours is another.
        answer = await page.evaluate("axe.run(document, %s)" % (CONTRAST if scheme == "dark" else "{}"))
        found += [
            f"{name}, {scheme}: {one['help']}: {node['html']} {node['failureSummary']}"
            for one in answer["violations"]
            for node in one["nodes"]
        ]
        await tab.picture(name, scheme)
    await page.emulate_media(color_scheme="light", reduced_motion="reduce")
    await page.set_viewport_size(NARROW)
    found += [f"{name} is {wider} pixels wider than the window"] if (wider := await tab.overflow) > 0 else []
    await tab.picture(name, "narrow")
    await page.set_viewport_size(WIDE)
    return found


@pytest.mark.timeout(600)
async def test_nobody_is_left_out(bed: Bed, tmp_path: Path) -> None:
    directory = tmp_path / "image-store"
    directory.mkdir()
    one = await bed.client.add(directory, bed.code().removeprefix("agentEnrollment::"))
    pools = await bed.client.call("GET", f"/backup-storage?q=name={POOL}")
    ceph = pools["inventories"][0]["uuid"]
    pages = PAGES | {
        "storage": f"/storages/{one}",
        "delete": f"/storages/{one}/delete",
        "ceph": f"/storages/{ceph}?period=month",
    }
    async with bed.tab(logged_in=False) as tab:
        await tab.go("/")
        found = await _looked_at(tab, "log-in")
        await tab.log_in()
        for name, path in pages.items():
            await tab.go(path)
            if await tab.page.locator("[data-curve]").count():
                await tab.page.wait_for_selector("[data-drawn]")
            found += await _looked_at(tab, name)
        assert found == [], "\n".join(found)
        assert [fault for fault in tab.faults if "404" not in fault] == []
    await bed.client.call("DELETE", f"/backup-storage/{one}?deleteMode=Permissive")
