"""The papers of a package: changelog from CHANGELOG.md, and whose work it holds under which licence."""

import datetime as dt
import email.utils
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from description import FIRST_OF_2026, ROOT, Package, Project, metadata, package_version

WIDTH = 76
OWN = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: bs-agent
Upstream-Contact: {maintainer} <{mail}>
Source: {homepage}

Files: *
Copyright: 2026 {maintainer}
License: Apache-2.0

License: Apache-2.0
 On Debian systems the full text of the Apache License 2.0 is in the file
 /usr/share/common-licenses/Apache-2.0.
"""
# How metadata that is older than SPDX calls it.
IN_SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software": "Apache-2.0",
    "Python Software Foundation": "PSF-2.0",
    "BSD": "BSD-3-Clause",
}
COMMON = {"TERMS AND CONDITIONS FOR USE, REPRODUCTION": "Apache-2.0"}


@dataclass(frozen=True)
class Release:
    """One release of CHANGELOG.md."""

    version: str
    date: dt.datetime
    changes: list[str]


def releases(version: str) -> list[Release]:
    """Return what CHANGELOG.md tells, the newest first; this version is among them in any case."""
    told = [_release(*found) for found in _headings((ROOT / "CHANGELOG.md").read_text())]
    if all(release.version != version for release in told):
        told.insert(0, Release(version, told[0].date, ["Not released; CHANGELOG.md does not tell of it yet."]))
    return told


def _headings(text: str) -> Iterator[tuple[str, str, str]]:
    yield from re.findall(r"(?ms)^## (\S+) \((\S+)\)\n(.*?)(?=^## |\Z)", text)


def _release(version: str, date: str, text: str) -> Release:
    day = (
        dt.datetime.fromtimestamp(FIRST_OF_2026, dt.UTC)
        if date == "unreleased"
        else dt.datetime.fromisoformat(date).replace(tzinfo=dt.UTC)
    )
    paragraphs = [re.sub(r"\s+", " ", each).strip(" #-") for each in re.split(r"\n\s*\n|\n- |\n#+ ", text)]
    return Release(version, day, [each for each in paragraphs if each])


def debian_changelog(package: Package, project: Project, version: str) -> str:
    """Return the changelog as dpkg has it."""
    entries = []
    for release in releases(version):
        changes = "\n".join(
            textwrap.fill(change, WIDTH, initial_indent="  * ", subsequent_indent="    ") for change in release.changes
        )
        signed = f" -- {project.maintainer} <{project.mail}>  {email.utils.format_datetime(release.date)}"
        entries.append(
            f"{package.name} ({package_version(release.version)}) unstable; urgency=medium\n\n{changes}\n\n{signed}\n"
        )
    return "\n".join(entries)


def rpm_changelog(project: Project, version: str) -> str:
    """Return the changelog as rpm has it."""
    entries = []
    for release in releases(version):
        changes = "\n".join(
            textwrap.fill(change.replace("%", "%%"), WIDTH, initial_indent="- ", subsequent_indent="  ")
            for change in release.changes
        )
        day = release.date.strftime("%a %b %d %Y")
        entries.append(
            f"* {day} {project.maintainer} <{project.mail}> - {package_version(release.version)}-1\n{changes}\n"
        )
    return "\n".join(entries)


def copyright_file(package: Package, project: Project, notices: Path, site: str) -> str:
    """Return the copyright file in the form that machines read (DEP-5), with each library that the package holds."""
    paragraphs = [OWN.format(maintainer=project.maintainer, mail=project.mail, homepage=project.homepage)]
    for library in sorted(path for path in notices.iterdir() if path.name != "bs-agent"):
        told = metadata(library)
        texts = [text.read_text(errors="replace") for text in sorted(library.glob("*.text"))]
        tops = sorted(set((library / "tops").read_text().splitlines()))
        files = "\n".join(f" usr/lib/{package.name}/{site}/{top}" for top in tops)
        whose = "\n".join(f" {line}" for line in _whose("\n".join(texts)) or [_author(told)])
        short = re.sub(r"[^\w.]+", "-", f"{licence(told)}-of-{library.name}")
        text = _indented("\n\n".join(map(_shortened, texts)) or f"{licence(told)}, as its metadata says.")
        paragraphs.append(f"Files:\n{files}\nCopyright:\n{whose}\nLicense: {short}\n{text}\n")
    return "\n".join(paragraphs)


def licences(notices: Path) -> list[str]:
    """Return the licences of all that a package holds, by their names in SPDX."""
    return sorted({licence(metadata(library)) for library in notices.iterdir()})


def licence(told: Message) -> str:
    """Return the name in SPDX of the licence of a distribution with this METADATA."""
    name = str(told["License-Expression"] or told["License"] or "").strip()
    if not name or "\n" in name:
        classifiers = [str(each) for each in told.get_all("Classifier", []) if str(each).startswith("License ::")]
        name = classifiers[-1].rpartition(" :: ")[2].removesuffix(" License") if classifiers else "unknown"
    return IN_SPDX.get(name, name)


def _author(told: Message) -> str:
    return str(told["Author"] or told["Author-email"] or f"the authors of {told['Name']}")


def _whose(text: str) -> list[str]:
    found = re.findall(r"(?im)^[\s*#]*copyright:? (?:\(c\)|©)?\s*((?=.*\d{4}).*)$", text)
    return list(dict.fromkeys(" ".join(line.split()) for line in found))


def _shortened(text: str) -> str:
    for sign, place in COMMON.items():
        if sign in text:
            return f"On Debian systems its full text is in the file /usr/share/common-licenses/{place}."
    return text


def _indented(text: str) -> str:
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.strip().splitlines())
