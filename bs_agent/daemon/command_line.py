"""What the command lines of both daemons share: the options that say which configuration holds, and how to fail."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from bs_agent.daemon.configuration import Settings

S = TypeVar("S", bound="Settings")
Command = Callable[..., None]
LONGEST = 1000  # characters of what a command does, in the list of commands


class Programs(click.Group):
    """A group of commands whose help says of each a whole sentence, and not as much of it as fits on a line."""

    group_class = type

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [(name, found.get_short_help_str(limit=LONGEST)) for name, found in commands.items() if found]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def example(line: str) -> str:
    """Return the end of a help text; the mark keeps click from joining its lines."""
    return f"\b\nExample:\n  {line}"


def configured(default: str) -> Callable[[Command], Command]:
    """Return what gives a command the options for the configuration, which is in `default` unless they say more."""

    def decorate(command: Command) -> Command:
        options = [
            click.option(
                "--config",
                "file",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help=f"The configuration file; {default} if it exists.",
            ),
            click.option(
                "--set",
                "assignments",
                multiple=True,
                metavar="SECTION.KEY=VALUE",
                help="Set one key, over file and environment; may be repeated.",
            ),
        ]
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def read(kind: type[S], file: Path | None, default: Path, prefix: str, assignments: Sequence[str]) -> S:
    """Read the configuration: file, environment variables with this prefix, and what the command line sets.

    Raises:
        ConfigError: something in it is not allowed.
    """
    from bs_agent.daemon.configuration import ConfigError, load  # noqa: PLC0415  heavy, and `--help` is to be quick

    command_line: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        section, dot, key = name.partition(".")
        if not equals or not dot:
            raise ConfigError([f"command line: --set wants SECTION.KEY=VALUE, not {assignment!r}"])
        command_line.setdefault(section, {})[key] = value
    return load(kind, file or (default if _is_there(default) else None), os.environ, prefix, command_line)


def absolute(program: str, path: Path | str) -> Path:
    """Return the absolute path of what was named on the command line, or say why there is none and exit."""
    try:
        return Path(path).absolute()
    except OSError as error:
        fail(program, f"{path}: the current folder cannot be told: {error.strerror}")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # whoever reads it is told why that is not possible
        return True


def read_or_fail(program: str, read_it: Callable[[], S]) -> S:
    """Read the configuration, or say what is wrong with it and exit."""
    from bs_agent.daemon.configuration import BAD_CONFIGURATION, ConfigError  # noqa: PLC0415  heavy

    try:
        return read_it()
    except ConfigError as error:
        fail(program, *error.faults, status=BAD_CONFIGURATION)


def fail(program: str, *sentences: str, status: int = 1) -> NoReturn:
    """Say what went wrong and exit."""
    for sentence in sentences:
        click.echo(f"{program}: {sentence}", err=True)
    sys.exit(status)
