"""Each page in light, in dark and narrow: axe-core finds nothing, nothing is cut off, and pictures are kept."""

import shutil
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.async_api import ViewportSize

from tests.management.console.browsing import CHROMIUM, POOL, WIDE, Bed, Tab

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.xdist_group("console"),
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
