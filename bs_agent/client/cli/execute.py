"""One command from its words to its output: the one-shot command line and the interactive shell share it."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from bs_agent.client.actions.action import Action
from bs_agent.client.cli import session as sessions
from bs_agent.client.cli.arguments import Ask, api_named, missing, parse_words
from bs_agent.client.cli.faults import UsageFault
from bs_agent.client.cli.names import left_out, resolved
from bs_agent.client.cli.output import Form, print_answer
from bs_agent.client.cli.session import Session, SessionFileError
from bs_agent.client.cli.text import plain
from bs_agent.client.sdk import ACTIONS
from bs_agent.client.wire.failures import CallFailed
from bs_agent.client.wire.transport import DEFAULT_URL, Client, Progress
from bs_agent.contract.calls_storage import RECONNECT_BACKUP_STORAGE
from bs_agent.contract.errors import ErrorCode, InvalidSession, cure_of

DONE, FAILED = 0, 3
OnProgress = Callable[[Progress], None]

LOG_IN, LOG_OUT = "LogInByAccount", "LogOut"
OF_SESSION = {LOG_OUT, "ValidateSession"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the options of the command line say; None is what was not said."""

    url: str | None = None
    ca_file: str | None = None
    allow_plain_http: bool = False
    output: Form | None = None
    timeout: float = 3 * 3600.0
    patience: float = 2.0
    dry_run: bool = False
    yes: bool = False

    @property
    def form(self) -> Form:
        """What an answer is printed as: a table on a terminal and JSON elsewhere, unless another is asked for."""
        return self.output or ("table" if sys.stdout.isatty() else "json")

    def client(self, kept: Session | None, on_progress: OnProgress | None = None) -> Client:
        """Return the client: the log-in says what the options do not, unless they name another management node.

        Raises:
            UsageFault: the url cannot be used.
        """
        if kept is None or self.url not in {None, kept.url}:
            kept = Session(self.url or DEFAULT_URL, "", "")
        ca_file = self.ca_file or kept.ca_file
        try:
            return Client(
                url=kept.url,
                session_id=kept.uuid,
                ca_file=Path(ca_file) if ca_file else None,
                allow_plain_http=self.allow_plain_http or kept.allow_plain_http,
                patience=self.patience,
                polling_timeout=self.timeout,
                on_progress=on_progress,
            )
        except ValueError as error:
            raise UsageFault(str(error)) from None


@dataclass(frozen=True, slots=True)
class Answered:
    """A call that was made, and what it brought: the error, or else the answer."""

    action: Action[Any]
    client: Client
    kept: Session | None
    answer: dict[str, Any]
    error: ErrorCode | None = None


def execute(words: Sequence[str], options: Options, ask: Ask) -> int:
    """Run one command and print what comes of it; returns the exit code.

    Raises:
        UsageFault: the command is wrong; nothing was sent.
    """
    found = call(words, options, ask)
    if found.error:
        show_error(found.error, options.form)
        return FAILED
    _remember(found.action, found.client, found.answer, found.kept)
    _show(found.action, found.answer, options)
    return DONE


def call(words: Sequence[str], options: Options, ask: Ask) -> Answered:
    """Make the call that a command line names; nothing is printed but its progress.

    Raises:
        UsageFault: the command is wrong; nothing was changed.
    """
    kind = ACTIONS[api_named(words[0]).name]
    kept = kept_session()
    options.client(kept)  # whether the url can be used is said before a password is asked for
    values = parse_words(kind.api, words[1:], ask)
    if kind.api.name in OF_SESSION and kept and kept.uuid:
        values.setdefault("sessionUuid", kept.uuid)
    with _progress(kind.api.name) as on_progress:
        client = options.client(kept, on_progress)
        if lacks := left_out(kind.api, values, client) or missing(kind.api, values):
            raise UsageFault(f"{kind.api.name}: {lacks}")
        action = kind(**values)
        if fault := action.check():
            raise UsageFault(f"{kind.api.name}: {fault.details}")
        if kind.api.needs_session and not client.session_id:
            raise UsageFault(not_logged_in(client, kept))
        try:
            action = kind(**resolved(kind.api, values, client))
            res = action.call(client)
            res.unwrap()
        except CallFailed as failure:
            if failure.error.code == InvalidSession.code and kept and client.session_id == kept.uuid:
                _keep(replace(kept, uuid=""))
            return Answered(action, client, kept, {}, failure.error)
    answer = {name: value for name, value in res.answer.items() if name != "schema"}
    return Answered(action, client, kept, answer)


def uuid_of(name: str, options: Options) -> str:
    """Return the uuid of the backup storage that has a name, or the uuid itself.

    Raises:
        UsageFault: several have it, or nobody is logged in.
        CallFailed: none has it, or the management node could not be asked.
    """
    kept = kept_session()
    client = options.client(kept)
    if not client.session_id:
        raise UsageFault(not_logged_in(client, kept))
    return str(resolved(RECONNECT_BACKUP_STORAGE, {"uuid": name}, client)["uuid"])


def not_logged_in(client: Client, kept: Session | None) -> str:
    """Say how to log in."""
    where = f"; the log-in that is kept is for {kept.url}" if kept else ""
    return f"not logged in to {client.url}{where}: `bs-cli LogInByAccount accountName=admin` asks for the password"


def show_error(error: ErrorCode, form: Form = "table") -> None:
    """Print an error for people, each with its cure under it, and whole too where a program reads the output."""
    if form in {"json", "yaml"}:
        shown = {"error": _cured(error).model_dump(mode="json", exclude_none=True), "success": False}
        print_answer(shown, form)
    depth, one = "", error
    while True:
        click.secho(f"{depth}{one.code}: {plain(one.description)}", err=True, fg="red")
        if one.details:
            click.echo(f"{depth}  {plain(one.details)}", err=True)
        if cure := cure_of(one):
            click.echo(f"{depth}  -> {plain(cure)}", err=True)
        if one.cause is None:
            return
        depth, one = f"{depth}  ", one.cause


def _cured(error: ErrorCode) -> ErrorCode:
    """Return the error with its cure as the elaboration, that of its cause too."""
    cause = _cured(error.cause) if error.cause else None
    return error.model_copy(update={"elaboration": cure_of(error) or None, "cause": cause})


def kept_session() -> Session | None:
    """Return the log-in that is kept.

    Raises:
        UsageFault: the file that keeps it cannot be used.
    """
    try:
        return sessions.load()
    except SessionFileError as error:
        raise UsageFault(str(error)) from None


def _remember(action: Action[Any], client: Client, answer: dict[str, Any], kept: Session | None) -> None:
    if action.api.name == LOG_IN:
        uuid, account = answer["inventory"]["uuid"], str(vars(action)["accountName"])
        trust = str(client.ca_file.absolute()) if client.ca_file else ""
        _keep(Session(client.url, uuid, account, trust, client.allow_plain_http))
    elif action.api.name == LOG_OUT and kept and vars(action)["sessionUuid"] == kept.uuid:
        sessions.forget()


def _keep(session: Session) -> None:
    """Keep a log-in; where that is not possible, the command has done its work all the same."""
    try:
        sessions.save(session)
    except SessionFileError as error:
        click.echo(f"{error}", err=True)


def _show(action: Action[Any], answer: dict[str, Any], options: Options) -> None:
    """Print an answer; a session, which is kept, is shown to nobody who has not asked for a form that has it."""
    if action.api.name == LOG_IN and options.output in {None, "table"}:
        ends = answer["inventory"].get("expiredDate")
        click.echo(f"logged in as {vars(action)['accountName']}; the session ends on {ends} unless it is used")
    else:
        print_answer(answer, options.form, vars(action).get("fields") or ())


@contextlib.contextmanager
def _progress(name: str) -> Iterator[OnProgress | None]:
    """Yield what shows the progress of a job on the terminal's error output; says what goes on when interrupted."""
    job = ""
    if not sys.stderr.isatty():
        yield None
        return

    def show(progress: Progress) -> None:
        nonlocal job
        job = progress.job
        click.echo(f"\r{name}: {progress.seconds:.0f} s, Ctrl-C leaves it to the management node", err=True, nl=False)

    try:
        yield show
    except KeyboardInterrupt:
        if job:
            click.echo(f"\njob {job} goes on at the management node", err=True)
        raise
    finally:
        if job:
            click.echo("\r\x1b[K", err=True, nl=False)
