"""The command line of the agent; what a command needs is loaded when it runs, so `--help` is quick."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from bs_agent import __version__
from bs_agent.daemon import command_line, garbage
from bs_agent.daemon.command_line import example

if TYPE_CHECKING:
    from bs_agent.agent.config import AgentSettings

MAX_LABEL = 200
MAX_PATH = 4096


PROGRAM = "bs-agent"
configured = command_line.configured("/etc/bs-agent/agent.toml")


@click.group(
    cls=command_line.Programs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("bs-agent report --directory /data/images"),
)
@click.version_option(__version__, prog_name="bs-agent")
def main() -> None:
    """Report and manage the backup storages of this host."""
    garbage.look_seldom()


@main.command(epilog=example("bs-agent run --config /etc/bs-agent/agent.toml"))
@configured
def run(file: Path | None, assignments: tuple[str, ...]) -> None:
    """Run the agent until SIGTERM; SIGHUP reads the configuration again."""
    from bs_agent.agent import app, state  # noqa: PLC0415  heavy, and only this command needs it
    from bs_agent.daemon import lifecycle, logs  # noqa: PLC0415

    file = command_line.absolute(PROGRAM, file) if file else None
    settings = load(file, assignments)
    logs.set_up_logging(settings.log.level, settings.log.format)
    os.chdir("/")  # keep no mount busy
    try:
        asyncio.run(lifecycle.run(app.daemon(settings, lambda: read(file, assignments))))
    except state.StateError as error:
        fail(str(error))


@main.command(epilog=example("bs-agent report --directory /data/images"))
@configured
@click.option("--directory", "directories", multiple=True, metavar="PATH", help="Report this directory too.")
def report(file: Path | None, assignments: tuple[str, ...], directories: tuple[str, ...]) -> None:
    """Print this host's report as JSON; no server is needed, and nothing is written.

    The exit status is 1 when one of the storages cannot be used.
    """
    from bs_agent.agent import state  # noqa: PLC0415  heavy, and only this command needs it
    from bs_agent.agent.local_report import local_report  # noqa: PLC0415
    from bs_agent.contract.report import blocking_reason  # noqa: PLC0415

    settings = load(file, assignments)
    named = [str(command_line.absolute(PROGRAM, path)) for path in directories]
    for path in named:
        if path != path.encode(errors="replace").decode():
            fail(f"--directory: {path!r} is not UTF-8, so it can be no backup storage")
        if len(path) > MAX_PATH:
            fail(f"--directory: a path of {len(path)} characters is longer than any may be")
    try:
        found = asyncio.run(local_report(settings, named))
    except state.StateError as error:
        fail(str(error))
    click.echo(found.model_dump_json(indent=2))
    if any(blocking_reason(storage.reasons()) for storage in found.storages):
        sys.exit(1)


@main.command(epilog=example("bs-agent enroll --label management-node-1"))
@configured
@click.option("--label", required=True, metavar="NAME", help="Whom the token is for, for your own records.")
@click.option("--json", "as_json", is_flag=True, help="Print port, token, fingerprint and code as JSON.")
def enroll(file: Path | None, assignments: tuple[str, ...], label: str, as_json: bool) -> None:  # noqa: FBT001 RUF100  a flag of click
    """Make a token for a management node; works while the agent runs, which honours it at once."""
    from bs_agent.agent import state  # noqa: PLC0415  heavy, and only this command needs it
    from bs_agent.agent.trust import commands as enrolling  # noqa: PLC0415  heavy, and only this command needs it

    if not 0 < len(label) <= MAX_LABEL or not label.isprintable():
        fail(f"the label must be 1 to {MAX_LABEL} printable characters")
    try:
        enrollment = asyncio.run(enrolling.make_enrollment(load(file, assignments), label))
    except state.StateError as error:
        fail(str(error))
    if as_json:
        click.echo(enrollment.model_dump_json())
    else:
        click.echo(f"agentEnrollment::{enrollment.code}")
        click.echo("Pass this line as a system tag of the add call. It holds a secret: keep it to yourself.", err=True)


@main.group(epilog=example("bs-agent enrollments list"))
def enrollments() -> None:
    """List the management nodes that have a token, or take one away."""


@enrollments.command("list", epilog=example("bs-agent enrollments list"))
@configured
def list_(file: Path | None, assignments: tuple[str, ...]) -> None:
    """Print who has a token: id, when it was made, how many storages were connected with it, label."""
    from bs_agent.agent import state  # noqa: PLC0415  heavy, and only these commands need it
    from bs_agent.agent.trust import commands as enrolling  # noqa: PLC0415  heavy, and only these commands need it

    try:
        for enrolled in enrolling.list_enrollments(load(file, assignments)):
            click.echo(enrolled)
    except state.StateError as error:
        fail(str(error))


@enrollments.command(epilog=example("bs-agent enrollments remove 6f1e5f6bd0d04d17b2a1c9d9b6f3a0e2"))
@configured
@click.argument("identity", metavar="ID")
def remove(file: Path | None, assignments: tuple[str, ...], identity: str) -> None:
    """Take the token ID away; a running agent refuses it from now on. Storages stay as they are."""
    from bs_agent.agent import state  # noqa: PLC0415  heavy, and only these commands need it
    from bs_agent.agent.trust import commands as enrolling  # noqa: PLC0415  heavy, and only these commands need it

    try:
        removed = enrolling.remove_enrollment(load(file, assignments), identity)
    except state.StateError as error:
        fail(str(error))
    click.echo(f"removed: {removed.label}")
    if removed.storages:
        click.echo(f"It had connected {removed.storages} storages: reconnect them with a new code.", err=True)


@main.command(epilog=example("bs-agent rotate-certificate"))
@configured
@click.option("--force", is_flag=True, help="Rotate although management nodes were not told and will refuse the agent.")
def rotate_certificate(file: Path | None, assignments: tuple[str, ...], force: bool) -> None:  # noqa: FBT001 RUF100  a flag of click
    """Show the next key and certificate from now on, of which the reports have told, and make new next ones.

    Against a key that was stolen this is no cure: the next one lies beside it. Make both anew and enrol again then.
    """
    from bs_agent.agent import state  # noqa: PLC0415  heavy, and only this command needs it
    from bs_agent.agent.trust import commands as enrolling  # noqa: PLC0415  heavy, and only this command needs it

    try:
        click.echo(asyncio.run(enrolling.rotate_certificate(load(file, assignments), force=force)))
    except state.StateError as error:
        fail(str(error))


@main.command(epilog=example("bs-agent check-config --config /etc/bs-agent/agent.toml"))
@configured
def check_config(file: Path | None, assignments: tuple[str, ...]) -> None:
    """Check the configuration and do nothing else; every fault is named."""
    load(file, assignments)
    click.echo("the configuration is valid")


@main.command(epilog=example("bs-agent doctor"))
@configured
@click.option("--json", "as_json", is_flag=True, help="Print a list of level, subject, text and cure as JSON.")
def doctor(file: Path | None, assignments: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 RUF100  a flag of click
    """Say what is wrong on this host and what to do, one line each.

    The exit status is 1 when something keeps a storage or the agent from working.
    """
    from bs_agent.agent.doctor.doctor import examine, misconfigured  # noqa: PLC0415  heavy, and only this command
    from bs_agent.daemon.configuration import ConfigError  # noqa: PLC0415

    try:
        findings = asyncio.run(examine(read(file, assignments)))
    except ConfigError as error:
        findings = misconfigured(error.faults)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(finding)
    if any(finding.level == "FAIL" for finding in findings):
        sys.exit(1)


def read(file: Path | None, assignments: tuple[str, ...]) -> "AgentSettings":
    """Read the configuration.

    Raises:
        ConfigError: something in it is not allowed.
    """
    from bs_agent.agent.config import DEFAULT_FILE, PREFIX, AgentSettings  # noqa: PLC0415  heavy

    return command_line.read(AgentSettings, file, DEFAULT_FILE, PREFIX, assignments)


def load(file: Path | None, assignments: tuple[str, ...]) -> "AgentSettings":
    """Read the configuration, or say what is wrong with it and exit."""
    return command_line.read_or_fail(PROGRAM, lambda: read(file, assignments))


def fail(*sentences: str, status: int = 1) -> NoReturn:
    """Say what went wrong and exit."""
    command_line.fail(PROGRAM, *sentences, status=status)
