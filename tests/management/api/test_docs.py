"""The OpenAPI document and its page as a browser shows it, a real one, without any network but the node itself."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from bs_agent.contract.api import APIS
from bs_agent.contract.openapi import document
from tests.management.server import Server

pytestmark = pytest.mark.asyncio


async def _get(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    async with server.http.get(server.url + path, headers=headers) as response:
        return response.status, dict(response.headers), await response.text()


async def _dom(server: Server, folder: Path, path: str = "/docs") -> str:
    """Return the page after its script ran."""
    chromium = ("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    options = (f"--user-data-dir={folder}", "--virtual-time-budget=20000", "--dump-dom", server.url + path)
    child = await asyncio.create_subprocess_exec(
        *chromium, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    return (await asyncio.wait_for(child.communicate(), 100))[0].decode()


async def test_the_document_is_served_without_a_session(server: Server) -> None:
    async with server.http.get(f"{server.url}/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert await response.json() == document()
        tag = response.headers["ETag"]
    assert (await _get(server, "/openapi.json", **{"If-None-Match": tag}))[0] == 304


async def test_the_page_takes_nothing_from_elsewhere(server: Server) -> None:
    for path in ("/docs", "/docs/page.js", "/docs/page.css"):
        status, headers, text = await _get(server, path)
        assert status == 200
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"https?://|innerHTML|\bon\w+=|style=", text)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (apt-get install chromium)")
async def test_a_browser_lists_every_call(server: Server, tmp_path: Path) -> None:
    dom = await _dom(server, tmp_path)
    assert set(re.findall(r'<article id="(\w+)"', dom)) == {*APIS, "GetJob"}
    assert set(re.findall(r'data-call="(\w+)"', dom)) == {*APIS, "GetJob"}
    shown = re.sub(r"<[^>]+>", "", dom)
    for api in APIS.values():
        assert api.name in shown
        for path in api.paths:
            assert f"/zstack/v1{path}" in shown
        for name in api.parameters.model_fields:
            if not api.queries and name not in {"systemTags", "userTags"}:
                assert name in shown
    assert "cannot be shown" not in shown
