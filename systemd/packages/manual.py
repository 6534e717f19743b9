"""Manual pages and completions, written from what the programs say of themselves and of their configuration."""

import re
from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import BashComplete, FishComplete
from description import Command, Configuration, Package, named

from bs_agent.client.cli import arguments, manual
from bs_agent.client.cli.commands import COMMANDS
from bs_agent.client.cli.prompt.scripts import SCRIPTS

PROMPT = "bs-cli"  # its words are calls, and no commands of click
STATUS = "0 is success, 1 a failure or a finding, 2 a wrong command line, 78 a configuration that is not valid."
ABOUT_FILE = """
A file in TOML. Every key has a default, so an empty file is valid. The environment wins over the file, and the command
line (`--set`) over both.

`{daemon} check-config` reports every fault at once; `systemctl reload {daemon}` takes the file up.
"""
STATUS_OF_PROMPT = "0 is done, 1 a wrong command line (nothing was sent), 3 a call that failed, 130 an interruption."


def page(package: Package, name: str, command: Command, version: str, date: str) -> str:
    """Return the manual page of a program."""
    top: click.Command = named(command.click)
    lines = [
        _title(name, command.section, version, date),
        ".SH NAME",
        f"{_text(name)} \\- {_text(package.summary)}",
        ".SH SYNOPSIS",
        f".B {_text(name)}",
        "[\\fIOPTION\\fP]... [\\fICALL\\fP [\\fINAME=VALUE\\fP]...]"
        if name == PROMPT
        else "[\\fIOPTION\\fP] \\fICOMMAND\\fP [\\fIARGUMENT\\fP]...",
        ".SH DESCRIPTION",
        *_paragraphs(package.description),
        ".SH OPTIONS",
        *_options(top),
    ]
    lines += [*_calls()] if name == PROMPT else [".SH COMMANDS", *_commands(top, "")]
    lines += [".SH EXIT STATUS", STATUS_OF_PROMPT if name == PROMPT else STATUS]
    if package.configuration:
        own = _title_of(package.configuration)
        lines += [
            ".SH FILES",
            ".TP",
            f"\\fI/etc/bs\\-agent/{_text(package.configuration.file)}\\fP",
            f"See \\fB{own}\\fP(5).",
        ]
    lines += [".SH SEE ALSO", _text(package.see_also)]
    return "\n".join(lines) + "\n"


def page_of_file(package: Package, file: Configuration, version: str, date: str) -> str:
    """Return the manual page of the configuration of a daemon."""
    daemon, prefix = next(iter(package.commands)), named(file.prefix)
    lines = [
        _title(_title_of(file).replace("\\", ""), 5, version, date),
        ".SH NAME",
        f"{_title_of(file)} \\- configuration of {_text(daemon)}",
        ".SH SYNOPSIS",
        f"\\fI/etc/bs\\-agent/{_text(file.file)}\\fP",
        ".SH DESCRIPTION",
        *_paragraphs(ABOUT_FILE.format(daemon=daemon)),
    ]
    for section, field in named(file.settings).model_fields.items():
        lines += [f'.SH "[{_text(section)}]"', *_paragraphs(field.description or "")]
        for key, value in field.annotation.model_fields.items():
            default = value.get_default(call_default_factory=True)
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            variable = _text(f"{prefix}_{section}_{key}".upper())
            lines += [
                ".TP",
                f"\\fB{_text(key)}\\fP = {_text(shown) or '(empty)'}",
                _marked(value.description or ""),
                f"Variable: \\fB{variable}\\fP.",
            ]
    lines += [".SH SEE ALSO", f"\\fB{_text(daemon)}\\fP(8)"]
    return "\n".join(lines) + "\n"


def completions(name: str, command: Command) -> dict[str, str]:
    """Return the completion scripts of a program, by the places below /usr/share that the shells look into."""
    if name == PROMPT:
        bash, fish = SCRIPTS["bash"], SCRIPTS["fish"]
    else:
        top, variable = named(command.click), f"_{name}_COMPLETE".replace("-", "_").upper()
        bash, fish = (kind(top, {}, name, variable).source() for kind in (BashComplete, FishComplete))
    return {
        f"bash-completion/completions/{name}": bash,
        f"fish/vendor_completions.d/{name}.fish": fish,
    }


def _title(name: str, section: int, version: str, date: str) -> str:
    return f'.TH {_text(name.upper())} {section} "{date}" "bs\\-agent {_text(version)}" "Backup storages"'


def _title_of(file: Configuration) -> str:
    return f"bs\\-{_text(file.file)}"


def _commands(group: click.Command, before: str) -> Iterator[str]:
    if not isinstance(group, click.Group):
        return
    for name, command in sorted(group.commands.items()):
        words = f"{before}{name}"
        if isinstance(command, click.Group):
            yield from (f'.SS "{_text(words)}"', *_paragraphs(command.help or ""))
            yield from _commands(command, f"{words} ")
            continue
        operands = [
            each.make_metavar(click.Context(command)) for each in command.params if isinstance(each, click.Argument)
        ]
        yield f'.SS "{_text(" ".join([words, "[OPTION]...", *operands]))}"'
        yield from _paragraphs(command.help or "")
        yield from _options(command)
        if command.epilog:
            yield from (".PP", ".nf", *(_text(line) for line in command.epilog.replace("\b\n", "").splitlines()), ".fi")


def _options(command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record:
            yield from (".TP", f"\\fB{_text(record[0])}\\fP", _marked(record[1]))


def _calls() -> Iterator[str]:
    yield from (
        ".SH CALLS",
        "Each is a call of the public REST API. Values and conditions are words of the command line; quote",
    )
    yield "conditions with < > ! or ? for your shell."
    for subject, calls in COMMANDS.items():
        yield f'.SS "{_text(subject)}"'
        for call in calls:
            yield from (
                ".PP",
                ".nf",
                *(_text(line) for line in manual.command_help(arguments.api_named(call)).splitlines()),
                ".fi",
            )


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield _marked(" ".join(paragraph.split()))


def _marked(text: str) -> str:
    """Set what stands in back quotes in bold, and a link as its words."""
    shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fP", _text(" ".join(shown.split())))


def _text(text: Any) -> str:
    escaped = str(text).replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped)
