"""What the page of symptoms names is there: reasons, commands, verbs, calls and keys."""

import re
from pathlib import Path

import click

from bs_agent.agent.main import main as agent
from bs_agent.client.cli.commands import COMMANDS, VERB_CALLS
from bs_agent.contract.reasons import ReasonCode
from bs_agent.management.main import main as management

TEXT = (Path(__file__).parent.parent / "docs" / "symptoms.md").read_text()


def test_every_reason_that_is_named_is_one() -> None:
    named = set(re.findall(r"\((\w+)\)`", TEXT)) | {"NoQuorum"}
    assert len(named) >= 8
    assert named <= set(ReasonCode)


def test_every_command_that_is_named_is_one() -> None:
    programs: dict[str, click.Group] = {"bs-agent": agent, "bs-management": management}
    calls = {name for names in COMMANDS.values() for name in names}
    for program, word, more in re.findall(r"`(bs-\w+) ([\w-]+)(?: ([\w-]+))?", TEXT):
        if program == "bs-cli":
            assert word in calls or word in VERB_CALLS, word
            assert not (word == "storages" and more) or f"{word} {more}" in VERB_CALLS, more
        else:
            assert word in programs[program].commands, (program, word)
