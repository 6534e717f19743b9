"""The files of the pages: those of others as they were published, and all of them in what is installed."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bs_agent.management.console import served
from tests.management.console.looking import Looker
from tests.management.console.test_pages import check_headers

STATIC = Path(served.__file__).parent / "static"
ROOT = Path(__file__).parents[3]
MANIFEST = json.loads((STATIC / "MANIFEST.json").read_text())


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: str(entry["file"]))
def test_a_file_of_others_is_as_it_was_published(entry: dict[str, str]) -> None:
    text = (STATIC / entry["file"]).read_bytes()
    assert hashlib.sha256(text).hexdigest() == entry["sha256"]
    assert entry["version"] in entry["file"]
    assert entry["version"] in entry["from"]
    license_text = (STATIC / entry["license_file"]).read_text()
    assert {"0BSD": "Zero-Clause BSD", "MIT": "The MIT License"}[entry["license"]] in license_text


def test_every_file_is_ours_or_in_the_manifest() -> None:
    ours = {"console.css", "console.js", "icon.svg", "MANIFEST.json"}
    others = {entry[key] for entry in MANIFEST for key in ("file", "license_file")}
    assert {path.name for path in STATIC.iterdir()} == ours | others
    assert set(served.FILES) == (ours | {entry["file"] for entry in MANIFEST}) - {"MANIFEST.json"}


def test_our_script_makes_no_script_and_asks_nobody_else() -> None:
    text = (STATIC / "console.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|new Function|document\.write|https?://", text)


@pytest.mark.asyncio
async def test_files_are_kept_until_they_change(stranger: Looker) -> None:
    for name, type_ in served.FILES.items():
        shown = await stranger.get(served.path_of(name))
        assert (shown.status, shown.headers["Content-Type"]) == (200, f"{type_}; charset=utf-8")
        assert "immutable" in shown.headers["Cache-Control"]
        check_headers(shown, stored=True)
        again = await stranger.get(f"/static/{name}?another", If_None_Match=shown.headers["ETag"])
        assert (again.status, again.headers["Cache-Control"]) == (304, "no-cache")
    for path in ("/static/", "/static/../routes.py", "/static/MANIFEST.json", "/static/%2e%2e/routes.py"):
        assert (await stranger.get(path)).status == 404


def test_a_wheel_holds_all_of_them(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    copy = tmp_path / "tree"
    copy.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    console = ROOT / "bs_agent/management/console"
    for path in (ROOT / "bs_agent").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    subprocess.run([*build, str(copy)], check=True, timeout=100, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        inside = set(wheel.namelist())
    wanted = {
        str(path.relative_to(ROOT)) for folder in ("static", "templates") for path in (console / folder).iterdir()
    }
    assert wanted <= inside
