"""The program bs-management. Heavy modules are imported by the commands that need them."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from bs_agent import __version__
from bs_agent.daemon.configuration import BAD_CONFIGURATION, ConfigError, load
from bs_agent.management.config import DEFAULT_PATH, PREFIX, ManagementSettings

FAILED = 1

_config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The configuration file; {DEFAULT_PATH} when it exists.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bs-management")
def main() -> None:
    """Keep the inventory of backup storages, poll their agents and serve the public API.

    Example: bs-management run --config /etc/bs-agent/management.toml
    """


@main.command()
@_config
def run(path: Path | None) -> None:
    """Serve until SIGTERM or Ctrl-C; SIGHUP reads the configuration again.

    The first start makes the password of the account admin and shows it once.

    Example: bs-management run --config /etc/bs-agent/management.toml
    """
    from bs_agent.management.service import serve  # noqa: PLC0415

    _run(serve(_settings(path), lambda: _load(path)))


@main.command()
@_config
def check_config(path: Path | None) -> None:
    """Check the configuration and say what is wrong with it; nothing is started.

    Example: bs-management check-config --config ./management.toml
    """
    _settings(path)
    click.echo("the configuration is valid")


@main.command()
@_config
def migrate(path: Path | None) -> None:
    """Bring the database to this version's tables; `run` does it too.

    Example: bs-management migrate --config /etc/bs-agent/management.toml
    """
    from bs_agent.management.service import migrate as bring_up  # noqa: PLC0415

    click.echo(_run(bring_up(_settings(path))))


@main.command()
@_config
@click.argument("name")
def set_password(path: Path | None, name: str) -> None:
    """Set the password of the account NAME, and end its sessions.

    It is asked for twice on a terminal; otherwise it is the first line of standard input.

    Example: bs-management set-password admin
    """
    from bs_agent.management.service import set_password as change  # noqa: PLC0415

    settings = _settings(path)
    if sys.stdin.isatty():
        password = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    _run(change(settings, name, password))
    click.echo(f"the password of {name} was set; its sessions have ended")


def _load(path: Path | None) -> ManagementSettings:
    if path is None and DEFAULT_PATH.exists():
        path = DEFAULT_PATH
    return load(ManagementSettings, path, os.environ, PREFIX)


def _settings(path: Path | None) -> ManagementSettings:
    try:
        return _load(path)
    except ConfigError as error:
        for fault in error.faults:
            click.echo(f"bs-management: {fault}", err=True)
        sys.exit(BAD_CONFIGURATION)


def _run(work: Coroutine[Any, Any, str | None]) -> str | None:
    from bs_agent.management.service import FAULTS  # noqa: PLC0415

    try:
        return asyncio.run(work)
    except FAULTS as error:
        click.echo(f"bs-management: {error}", err=True)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
