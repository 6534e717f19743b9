"""The command line of the management node; what a command needs is loaded when it runs, so `--help` is quick."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bs_agent import __version__
from bs_agent.daemon import command_line, garbage
from bs_agent.daemon.command_line import example

if TYPE_CHECKING:
    from bs_agent.management.config import ManagementSettings


PROGRAM = "bs-management"
configured = command_line.configured("/etc/bs-agent/management.toml")


@click.group(
    cls=command_line.Programs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("bs-management run --config /etc/bs-agent/management.toml"),
)
@click.version_option(__version__, prog_name="bs-management")
def main() -> None:
    """Keep the inventory of backup storages, poll their agents and serve the public API."""
    garbage.look_seldom()


@main.command(epilog=example("bs-management run --config /etc/bs-agent/management.toml"))
@configured
def run(file: Path | None, assignments: tuple[str, ...]) -> None:
    """Serve until SIGTERM or Ctrl-C; SIGHUP reads the configuration again.

    The first start makes the password of the account admin and shows it once, on standard output.
    """
    from bs_agent.management.serve import serve  # noqa: PLC0415  heavy, and only this command needs it

    file = file.absolute() if file else None
    finish(serve(load(file, assignments), lambda: read(file, assignments)))


@main.command(epilog=example("bs-management check-config --config /etc/bs-agent/management.toml"))
@configured
def check_config(file: Path | None, assignments: tuple[str, ...]) -> None:
    """Check the configuration and do nothing else; every fault is named."""
    load(file, assignments)
    click.echo("the configuration is valid")


@main.command(epilog=example("bs-management migrate --config /etc/bs-agent/management.toml"))
@configured
def migrate(file: Path | None, assignments: tuple[str, ...]) -> None:
    """Bring the database to this version's tables; `run` does it too."""
    from bs_agent.management import commands  # noqa: PLC0415  heavy

    settings = load(file, assignments)
    become_owner(settings.state.directory)
    click.echo(finish(commands.migrate(settings)))


@main.command(epilog=example("bs-management set-password admin"))
@configured
@click.argument("name")
def set_password(file: Path | None, assignments: tuple[str, ...], name: str) -> None:
    """Set the password of the account NAME, and end its sessions.

    It is asked for twice on a terminal; otherwise it is the first line of standard input.
    """
    from bs_agent.management import commands  # noqa: PLC0415  heavy

    settings = load(file, assignments)
    become_owner(settings.state.directory)
    if sys.stdin.isatty():
        password = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    finish(commands.set_password(settings, name, password))
    click.echo(f"the password of {name} was set; its sessions have ended")


@main.command(epilog=example("bs-management backup /root/management-2026-11-24.tar"))
@configured
@click.argument("target", type=click.Path(path_type=Path))
def backup(file: Path | None, assignments: tuple[str, ...], target: Path) -> None:
    """Save the SQLite database and its key file as one new file TARGET; the node may run meanwhile."""
    from bs_agent.management import commands  # noqa: PLC0415  heavy

    click.echo(finish(commands.backup(load(file, assignments), target.absolute())))


@main.command(epilog=example("bs-management restore /root/management-2026-11-24.tar"))
@configured
@click.argument("source", type=click.Path(path_type=Path))
def restore(file: Path | None, assignments: tuple[str, ...], source: Path) -> None:
    """Put back what `backup` saved as SOURCE, where no database and no key file is."""
    from bs_agent.management import commands  # noqa: PLC0415  heavy

    click.echo(finish(commands.restore(load(file, assignments), source.absolute())))


@main.command(epilog=example("bs-management rotate-key"))
@configured
def rotate_key(file: Path | None, assignments: tuple[str, ...]) -> None:
    """Encrypt the stored secrets with a new key; a node that runs on this host goes on.

    Other nodes of the same database read them once they have a copy of the key file.
    """
    from bs_agent.management import commands  # noqa: PLC0415  heavy

    settings = load(file, assignments)
    become_owner(settings.state.directory)
    click.echo(finish(commands.rotate_key(settings)))


@main.command(epilog=example("bs-management move-host images-1.old.example images-1.new.example"))
@configured
@click.argument("old")
@click.argument("new")
def move_host(file: Path | None, assignments: tuple[str, ...], old: str, new: str) -> None:
    """Reach the ImageStore host OLD as NEW from now on; its certificate, token and SSH key stay pinned.

    A mon host of a Ceph storage is moved by UpdateCephBackupStorageMon of the public API.
    """
    from bs_agent.management import commands  # noqa: PLC0415  heavy

    settings = load(file, assignments)
    become_owner(settings.state.directory)
    click.echo(finish(commands.move_host(settings, old, new)))


@main.group(epilog=example("bs-management scrape-tokens add prometheus"))
def scrape_tokens() -> None:
    """The tokens by which Prometheus scrapes the metrics of the management nodes."""


@scrape_tokens.command("add", epilog=example("bs-management scrape-tokens add prometheus > prometheus.token"))
@configured
@click.argument("label")
def add_scrape_token(file: Path | None, assignments: tuple[str, ...], label: str) -> None:
    """Make a token and print it, this once; LABEL says whose it is."""
    from bs_agent.management import commands  # noqa: PLC0415  heavy

    settings = load(file, assignments)
    become_owner(settings.state.directory)
    click.echo(finish(commands.add_scrape_token(settings, label)))


@scrape_tokens.command("list", epilog=example("bs-management scrape-tokens list"))
@configured
def list_scrape_tokens(file: Path | None, assignments: tuple[str, ...]) -> None:
    """List the tokens: id, when it was made, label."""
    from bs_agent.management import commands  # noqa: PLC0415  heavy

    settings = load(file, assignments)
    become_owner(settings.state.directory)
    if listed := finish(commands.list_scrape_tokens(settings)):
        click.echo(listed)


@scrape_tokens.command("remove", epilog=example("bs-management scrape-tokens remove 93e149307faa28599a7b186ba57e56cc"))
@configured
@click.argument("uuid", metavar="ID")
def remove_scrape_token(file: Path | None, assignments: tuple[str, ...], uuid: str) -> None:
    """Take the token ID away; a running node refuses it from now on."""
    from bs_agent.management import commands  # noqa: PLC0415  heavy

    settings = load(file, assignments)
    become_owner(settings.state.directory)
    click.echo(finish(commands.remove_scrape_token(settings, uuid)))


def become_owner(directory: Path) -> None:
    """Go on as the owner of the state directory, so that root leaves no files that the node cannot use."""
    from bs_agent.daemon.privileges import become_owner as become  # noqa: PLC0415  only commands need it

    become(directory)


def read(file: Path | None, assignments: tuple[str, ...]) -> "ManagementSettings":
    """Read the configuration.

    Raises:
        ConfigError: something in it is not allowed.
    """
    from bs_agent.management.config import DEFAULT_PATH, PREFIX, ManagementSettings  # noqa: PLC0415  heavy

    return command_line.read(ManagementSettings, file, DEFAULT_PATH, PREFIX, assignments)


def load(file: Path | None, assignments: tuple[str, ...]) -> "ManagementSettings":
    """Read the configuration, or say what is wrong with it and exit."""
    return command_line.read_or_fail(PROGRAM, lambda: read(file, assignments))


def finish(work: Coroutine[Any, Any, str | None]) -> str | None:
    """Run a command to its end, or say in one sentence why it failed and exit."""
    from bs_agent.management.commands import FAULTS  # noqa: PLC0415  heavy

    try:
        return asyncio.run(work)
    except FAULTS as error:
        fail(str(error))


def fail(*sentences: str, status: int = 1) -> NoReturn:
    """Say what went wrong and exit."""
    command_line.fail(PROGRAM, *sentences, status=status)


if __name__ == "__main__":
    main()
