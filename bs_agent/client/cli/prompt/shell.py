"""The interactive prompt: Tab shows what may come next, grouped; commands run until `exit` or Ctrl-D."""

import asyncio
import shlex
import shutil
from dataclasses import replace
from functools import partial

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from bs_agent import __version__
from bs_agent.client.cli import verbs
from bs_agent.client.cli.arguments import Ask, api_named
from bs_agent.client.cli.execute import Options, kept_session
from bs_agent.client.cli.faults import UsageFault
from bs_agent.client.cli.manual import command_help
from bs_agent.client.cli.output import FORMS
from bs_agent.client.cli.prompt.completion import Completion, Names, complete
from bs_agent.client.cli.prompt.history import open_history
from bs_agent.client.cli.prompt.lexing import OWN_SPECIALS, Line, escape, split
from bs_agent.client.cli.prompt.listing import grouped
from bs_agent.client.cli.prompt.lookup import Lookup
from bs_agent.client.cli.session import state_directory
from bs_agent.client.wire.transport import Client

HELP = """Type a command and Tab: it shows the fields, the tables and the parameters that may come next.

  storages
  QueryBackupStorage status=Connected name~=store fields=name,uuid
  LogInByAccount accountName=admin
  help COMMAND     what a command takes
  exit             or Ctrl-D

--output json, yaml or tsv behind a command prints that. A line that begins with a space is not kept in the history."""


def interact(options: Options, ask: Ask) -> int:
    """Read and run commands until the end; returns the exit code."""
    prompt: PromptSession[str] = PromptSession(
        history=open_history(state_directory()),
        key_bindings=bindings(Lookup(partial(_client, options))),
        auto_suggest=AutoSuggestFromHistory(),
        reserve_space_for_menu=0,
    )
    click.echo(f"bs-cli {__version__}: Tab completes, `help` explains, Ctrl-D leaves")
    while True:
        try:
            text = prompt.prompt(f"{_where(options)}> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return 0
        if text.strip() in {"exit", "quit"}:
            return 0
        try:
            _run(text, options, ask)
        except UsageFault as fault:
            click.secho(str(fault), fg="red", err=True)
        except (KeyboardInterrupt, click.Abort):
            click.echo()


def bindings(names: Names) -> KeyBindings:
    """Return what Tab does: go on with what is unambiguous, else show what there is.

    Only names that the management node must be asked for are waited for in the background; the rest is at once, so
    that keys typed ahead find the line as they expect it.
    """
    found = KeyBindings()

    @found.add("tab")
    def tab(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        before = buffer.document.text_before_cursor
        line = split(before)
        asked = False

        def note(*_: object) -> list[tuple[str, str]]:
            nonlocal asked
            asked = True
            return []

        async def ask() -> None:
            work = partial(complete, line.words, line.current, names, anywhere=True)
            completion = await asyncio.get_running_loop().run_in_executor(None, work)
            if buffer.document.text_before_cursor == before and not go_on(buffer, line, completion):
                await _list(completion)

        completion = complete(line.words, line.current, note, anywhere=True)
        if asked:
            event.app.create_background_task(ask())
        elif not go_on(buffer, line, completion):
            event.app.create_background_task(_list(completion))

    return found


def go_on(buffer: Buffer, line: Line, completion: Completion) -> bool:
    """Write into the buffer what all offers have in common; False when that is nothing new."""
    word, ends = completion.common()
    typed = line.current.casefold()
    if not ends and (len(word) <= len(typed) or not word.casefold().startswith(typed)):
        return False
    buffer.delete_before_cursor(len(buffer.document.text_before_cursor) - line.start)
    buffer.insert_text(escape(word, OWN_SPECIALS) + (" " if ends else ""))
    return True


async def _list(completion: Completion) -> None:
    def show() -> None:
        for style, text in grouped(completion.offers, shutil.get_terminal_size().columns):
            click.secho(text, bold=style == "bold")

    await run_in_terminal(show)


def _run(text: str, options: Options, ask: Ask) -> None:
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise UsageFault(f"{error}: close the quotation, or write a backslash before the quote") from None
    options = _with_flags(words, options)
    match words:
        case []:
            return
        case ["help"]:
            click.echo(HELP)
        case ["help", name, *_] | [name, *_, "--help"]:
            click.echo(verbs.verb_help(name) if verbs.is_verb(name) else command_help(api_named(name)))
        case _:
            verbs.run(words, options, ask)


def _with_flags(words: list[str], options: Options) -> Options:
    """Take the options that may stand behind a command from the words of a line.

    Raises:
        UsageFault: there is no such form.
    """
    if "--json" in words:
        words.remove("--json")
        options = replace(options, output="json")
    if "--output" in words:
        place = words.index("--output")
        form = next((form for form in FORMS if words[place + 1 :][:1] == [form]), None)
        if form is None:
            raise UsageFault(f"--output is one of {', '.join(FORMS)}")
        del words[place : place + 2]
        options = replace(options, output=form)
    dry_run, yes = ("--dry-run" in words), ("--yes" in words)
    words[:] = [word for word in words if word not in {"--dry-run", "--yes"}]
    return replace(options, dry_run=dry_run, yes=yes)


def _client(options: Options) -> Client | None:
    try:
        return options.client(kept_session())
    except UsageFault:
        return None


def _where(options: Options) -> str:
    client = _client(options)
    if client is None:
        return "bs-cli"
    kept = kept_session()
    account = f"{kept.account}@" if kept and client.session_id else ""
    return account + client.url.partition("://")[2]
