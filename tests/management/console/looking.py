"""A browser without script: it keeps cookies, follows no redirect, and sends the forms of the pages it is shown."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tests.management.server import PASSWORD, Server


class _Forms(HTMLParser):
    """Gathers the forms of a page with the fields that they would send as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[tuple[str, list[str]]] = []
        self.found: dict[str, dict[str, str]] = {}
        self._here: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.marks.append((tag, [name for name, _ in attrs]))
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._here = self.found.setdefault(given.get("action", ""), {})
        elif tag in {"input", "textarea"} and "name" in given:
            if given.get("type") in {"radio", "checkbox"} and "checked" not in dict(attrs):
                return
            self._here[given["name"]] = given.get("value", "")


@dataclass(frozen=True)
class Shown:
    """An answer."""

    status: int
    headers: CIMultiDict[str]
    cookies: list[str]
    text: str

    @property
    def forms(self) -> dict[str, dict[str, str]]:
        """The forms by where they are sent; of several alike the last."""
        parser = _Forms()
        parser.feed(self.text)
        return parser.found

    @property
    def marks(self) -> list[tuple[str, list[str]]]:
        """The marks of the page, each with the names of its attributes, as a browser reads them."""
        parser = _Forms()
        parser.feed(self.text)
        return parser.marks

    @property
    def words(self) -> str:
        """The text without its marks."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.text)).split())


@dataclass
class Looker:
    """One browser; `origin` is what it says of where its forms come from."""

    base: str
    http: aiohttp.ClientSession
    origin: str = ""
    last: Shown = field(default_factory=lambda: Shown(0, CIMultiDict(), [], ""))

    async def get(self, path: str, **headers: str) -> Shown:
        """Go to a page."""
        return await self._ask("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    async def send(self, action: str, *, token: str | None = None, **fields: str) -> Shown:
        """Send a form of the last page, with some of its fields filled in."""
        form = self.last.forms[action] | fields | ({} if token is None else {"token": token})
        return await self.post(action, form)

    async def post(self, path: str, form: dict[str, str], **headers: str) -> Shown:
        """Send any form."""
        origin = {"Origin": self.origin or self.base} | {name.replace("_", "-"): text for name, text in headers.items()}
        said = {name: text for name, text in origin.items() if text != "none"}
        return await self._ask("POST", path, data=form, headers=said)

    async def log_in(self, password: str = PASSWORD, **fields: str) -> Shown:
        """Log in by the form."""
        await self.get("/log-in")
        return await self.send("/log-in", name="admin", password=password, **fields)

    @property
    def base_url(self) -> URL:
        """Where the node is."""
        return URL(self.base)

    @property
    def cookie(self) -> str:
        """The cookie of the session."""
        return next((one.value for one in self.http.cookie_jar if one.key == "bs-console"), "")

    async def _ask(self, method: str, path: str, **more: Any) -> Shown:
        async with self.http.request(method, self.base + path, allow_redirects=False, **more) as response:
            cookies = response.headers.getall("Set-Cookie", [])
            self.last = Shown(response.status, CIMultiDict(response.headers), cookies, await response.text())
        return self.last


@asynccontextmanager
async def looker(server: Server) -> AsyncIterator[Looker]:
    """Have a browser while the context is open."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        yield Looker(f"http://{server.address}", http)
