"""What `bs-cli` does once its options are read: one command, the live view, or the interactive prompt."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from bs_agent.client.cli import verbs
from bs_agent.client.cli.arguments import NEW
from bs_agent.client.cli.execute import Options
from bs_agent.client.cli.faults import UsageFault

MAX_SECRET = 4096


def run(words: Sequence[str], given: Mapping[str, Any]) -> int:
    """Run the program; returns the exit code.

    Raises:
        UsageFault: the command line is wrong.
    """
    options = _options(given)
    if given["watch"]:
        from bs_agent.client.cli.watch import watch  # noqa: PLC0415  rich is slow to import

        return watch(words or ["QueryBackupStorage"], options, given["interval"])
    return verbs.run(words, options, ask) if words else _interact(options)


def ask(name: str) -> str:
    """Ask for a secret on the terminal, or read a line where there is none.

    Raises:
        UsageFault: nothing was given.
    """
    if sys.stdin.isatty():
        again = f"{name} again" if name.startswith(NEW) else False
        secret: str = click.prompt(
            name, hide_input=True, err=True, default="", show_default=False, confirmation_prompt=again
        )
    else:
        secret = sys.stdin.readline(MAX_SECRET).rstrip("\r\n")
    if not secret:
        raise UsageFault(f"{name}: nothing was given; type it, pipe one line in, or write NAME=@FILE")
    return secret


def _interact(options: Options) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageFault("a command is needed where there is no terminal; `bs-cli --help` lists them")
    from bs_agent.client.cli.prompt.shell import interact  # noqa: PLC0415  prompt_toolkit is slow to import

    return interact(options, ask)


def _options(given: Mapping[str, Any]) -> Options:
    url, host, port = given["url"], given["host"], given["port"]
    if url and (host or port):
        raise UsageFault("--url says host and port: leave --host and --port out")
    if host or port:
        host = host or "127.0.0.1"
        url = f"http://{f'[{host}]' if ':' in host else host}:{port or 8080}"
    return Options(
        url=url,
        ca_file=given["ca_file"],
        allow_plain_http=given["allow_plain_http"],
        output=given["output"] or ("json" if given["as_json"] else None),
        timeout=given["timeout"],
        dry_run=given["dry_run"],
        yes=given["yes"],
    )
