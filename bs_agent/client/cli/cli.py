"""The program `bs-cli`: options, help and exit codes. What a command needs is imported when it runs: start-up is quick.

Exit codes: 0 done, 2 the command line is wrong (nothing was changed), 3 the API or the way to it failed, 130 Ctrl-C.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from bs_agent import __version__
from bs_agent.client.cli.commands import COMMANDS, VERBS
from bs_agent.client.cli.output import FORMS

_USAGE, _FAILED, _INTERRUPTED, _BROKEN_PIPE = 2, 3, 130, 141

_WIDEST = max(len(name) for commands in COMMANDS.values() for name in commands)
_WIDEST_VERB = max(map(len, VERBS))

_EPILOG = "\n".join(
    [
        "\b",
        "Every day (NAME is a name or a uuid):",
        *(f"  {verb:<{_WIDEST_VERB}}  {does}" for verb, does in VERBS.items()),
        "",
        "\b",
        "Commands (`bs-cli COMMAND --help` tells more):",
        *(
            f"  {subject}:\n" + "\n".join(f"    {name:<{_WIDEST}}  {does}" for name, does in commands.items())
            for subject, commands in COMMANDS.items()
        ),
        f"  Others:\n    {'completion bash|zsh|fish':<{_WIDEST}}  Print the completion script of a shell.",
        "",
        "\b",
        "Examples:",
        "  bs-cli LogInByAccount accountName=admin",
        "  bs-cli QueryBackupStorage status=Connected name~=store fields=name,uuid",
        "  bs-cli QueryBackupStorage 'availableCapacity<1099511627776' sortBy=name --output yaml",
        "  bs-cli storages delete my-store --dry-run",
        "  bs-cli --watch",
        "  eval \"$(bs-cli completion bash)\"",
        "",
        "Quote conditions with < > ! or ? for your shell. Exit codes: 0 done, 2 wrong usage, 3 the call failed.",
    ]
)  # fmt: skip


@click.command(
    add_help_option=False,
    context_settings={"max_content_width": 120, "ignore_unknown_options": False},
    epilog=_EPILOG,
    options_metavar="[OPTIONS]",
)
@click.argument("words", nargs=-1, metavar="[COMMAND [NAME=VALUE]...]")
@click.option("--url", metavar="URL", envvar="BS_CLI_URL", help="The management node; else the one of the log-in.")
@click.option("--host", metavar="HOST", help="The management node's host, over plain http.")
@click.option("--port", metavar="PORT", type=click.IntRange(1, 65535), help="Its port; 8080 without it.")
@click.option("--ca-file", metavar="FILE", envvar="BS_CLI_CA_FILE", help="Certificates to trust for https.")
@click.option("--allow-plain-http", is_flag=True, help="Allow plain http to another host: passwords become visible.")
@click.option(
    "--output",
    type=click.Choice(FORMS),
    metavar="FORM",
    help="table, json, yaml or tsv; without it a table on a terminal, and JSON elsewhere.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --output json.")
@click.option("--dry-run", is_flag=True, help="Of a delete: only show what it would do on which host.")
@click.option("--yes", is_flag=True, help="Of `storages delete`: do not ask for the name.")
@click.option("--watch", is_flag=True, help="Show the fleet live, or what a query finds; Ctrl-C ends.")
@click.option(
    "--interval", default=2.0, type=click.FloatRange(0.2), metavar="SECONDS", help="Between two looks of --watch; 2."
)
@click.option(
    "--timeout", default=10800.0, type=click.FloatRange(0), metavar="SECONDS", help="How long to wait for a job; 10800."
)
@click.option("--version", is_flag=True, help="Print the version.")
@click.option("--help", "wants_help", is_flag=True, help="Print this, or what a command takes.")
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], wants_help: bool, version: bool, **options: object) -> int:
    """Query and operate backup storages at a management node; without a command, an interactive prompt."""
    if version:
        click.echo(f"bs-cli {__version__}")
        return 0
    if wants_help:
        click.echo(_help_of(words[0]) if words else ctx.get_help())
        return 0
    if words and words[0] in {"completion", "complete"}:
        from bs_agent.client.cli.prompt import scripts  # noqa: PLC0415  see the module's docstring

        known = [option for option in ctx.command.params if isinstance(option, click.Option)]
        return scripts.run(words, {name: not option.is_flag for option in known for name in option.opts})
    from bs_agent.client.cli import program  # noqa: PLC0415  see the module's docstring

    return program.run(words, options)


def _help_of(name: str) -> str:
    from bs_agent.client.cli import arguments, manual, verbs  # noqa: PLC0415  see the module's docstring

    if verbs.is_verb(name):
        return verbs.verb_help(name)
    return manual.command_help(arguments.api_named(name))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and leave with its exit code."""
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with command.make_context("bs-cli", list(sys.argv[1:] if arguments is None else arguments)) as ctx:
            code = command.invoke(ctx)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = _USAGE
    except (KeyboardInterrupt, click.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:  # whoever read the output has left
        _give_up_output()
        code = _BROKEN_PIPE
    except OSError as error:  # nothing else lets one out: the output has nowhere to go
        click.echo(f"the output cannot be written: {error.strerror}; what was asked for may be done", err=True)
        _give_up_output()
        code = _FAILED
    sys.exit(code)


def _replace_closed_streams() -> None:
    """Read nothing and write nowhere where a stream was closed by whoever has started the program."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _give_up_output() -> None:
    """Let the interpreter, which writes what is left at its end, write it nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
