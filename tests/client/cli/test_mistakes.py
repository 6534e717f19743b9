"""What is said to mistakes: each message names its cure, and `docs/mistakes.md` has both as they are."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds.agent import ROOT
from tests.client.cli.conftest import Operator
from tests.client.cli.made_mistakes import MISTAKES
from tests.client.cli.mistakes import SUBJECTS, Bed, Mistake, Told, made, make, other_names_are_unknown, page_variable

PAGE = ROOT / "docs" / "mistakes.md"
NOTE = "<!-- Written by tests/client/cli/test_mistakes.py (`make docs`) from what the programs say: do not edit. -->\n"
BEGINNING = """# Mistakes, and what is said to them

Each of these was made, and the programs said this. A message names what was seen and, behind an arrow or a semicolon,
what to do: that is the last column. What keeps a storage from being well: [errors.md](errors.md); what to do about what
you see: [symptoms.md](symptoms.md).
"""


@pytest.fixture(scope="module")
def bed(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with made(operator, tmp_path_factory.mktemp("mistakes")) as laid:
        yield laid


@pytest.fixture(scope="module")
def told(bed: Bed) -> dict[Mistake, Told]:
    return {mistake: make(mistake, bed) for mistake in MISTAKES}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.line)
def test_a_mistake_is_told_with_its_cure(told: dict[Mistake, Told], mistake: Mistake) -> None:
    found = told[mistake]
    assert found.code == mistake.code, found
    assert found.message
    assert len(found.cure) > 5, found
    assert "Traceback" not in found.message


def test_the_page_says_what_the_programs_say(told: dict[Mistake, Told], bed: Bed) -> None:
    if not other_names_are_unknown():
        pytest.skip("no name server says here that a name is unknown")
    text = page(told, bed)
    if page_variable():
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "docs/mistakes.md has drifted: run `make docs`"


def page(told: dict[Mistake, Told], bed: Bed) -> str:
    """Write the page."""
    lines = [NOTE + BEGINNING]
    for subject in SUBJECTS:
        lines += [f"## {subject}\n", "| what was done | what is said | what to do |", "| --- | --- | --- |"]
        for mistake, found in told.items():
            if mistake.subject == subject:
                line = _line(mistake, bed)
                lines.append(f"| {mistake.did}: `{line}` | {_cell(found.message)} | {_cell(found.cure)} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _line(mistake: Mistake, bed: Bed) -> str:
    shown = {
        "node": "127.0.0.1:8080", "agent": "127.0.0.1:7765", "closed": "127.0.0.1:9", "port": "9",
        "folder": "/tmp", "data": "/data", "state": "/var/lib/bs-agent",
    }  # fmt: skip
    return mistake.line.format(**shown)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*")


def test_each_program_has_its_mistakes() -> None:
    assert {mistake.line.partition(" ")[0] for mistake in MISTAKES} == {"bs-cli", "bs-agent", "bs-management"}
    assert {mistake.subject for mistake in MISTAKES} == set(SUBJECTS)
    assert Path(PAGE).exists()
