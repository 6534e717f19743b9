"""Wrong command lines: what is wrong, where, and what is allowed; nothing is sent."""

import io
from pathlib import Path

import click
import pytest

from bs_agent.client.cli.cli import command
from bs_agent.client.cli.session import Session, save
from tests.client.node import SESSION, Node
from tests.client.terminal import bs_cli


@pytest.fixture(autouse=True)
def _logged_in(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdout", io.StringIO())
    save(Session(node.url, SESSION, "admin"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["Quer"], "there is no command 'Quer'; did you mean QuerySession, QueryAccount, QueryAccessKey, "),
        (["querybackupstorag"], "did you mean QueryBackupStorage?"),
        (["QueryBackupStorages"], "did you mean QueryBackupStorage, QueryCephBackupStorage or UpdateBackupStorage?"),
        (["Nothing"], "`bs-cli --help` lists the commands"),
        (["QueryBackupStorage", "statu=x"], "'statu' cannot be queried; did you mean status"),
        (["QueryBackupStorage", "zone.nam=x"], "'zone.nam' cannot be queried; did you mean zone.name"),
        (["QueryBackupStorage", "status"], "'status' is no condition: write FIELD, one of = != > >="),
        (["QueryBackupStorage", "limit=1", "limit=2"], "limit is given twice"),
        (["QueryBackupStorage", "limit=many"], "field[limit]: Input should be a valid integer"),
        (["QueryBackupStorage", "fields=name,uu"], "fields=uu: there is no such field; did you mean uuid"),
        (["QueryBackupStorage", "sortBy=Name"], "did you mean name"),
        (["QueryBackupStorage", "sortDirection=up"], "Input should be 'asc' or 'desc'"),
        (["DeleteBackupStorage", "uuid=x", "deleteMode=Hard"], "Input should be 'Permissive' or 'Enforcing'"),
        (["DeleteBackupStorage"], "DeleteBackupStorage: field[uuid]: Field required"),
        (["DeleteBackupStorage", "uid=x"], "has no parameter 'uid'; did you mean uuid?"),
        (["DeleteBackupStorage", "uuid"], "'uuid' is no NAME=VALUE; did you mean uuid?"),
        (["ReconnectBackupStorage", "uuid=x", "systemTags=@/nowhere"], "systemTags: /nowhere: No such file"),
        (["ReconnectBackupStorage", "uuid=x", "systemTags=[1]"], "must be a JSON list of texts"),
        (["AddImageStoreBackupStorage", "name=a", "hostname=h", "url=data"], "must be the absolute path"),
        (["LogInByAccount", "accountName=a", "password=open"], "password is a secret"),
        (["LogInByAccount", "accountName=a"], "password: nothing was given"),
        ([], "a command is needed where there is no terminal"),
        (["--watch"], "--watch needs a terminal"),
        (["--nonsense"], "No such option '--nonsense'"),
        (["--port", "0"], "0 is not in the range 1<=x<=65535"),
        (["--url", "http://10.0.0.1", "QueryBackupStorage"], "plain http would show the session"),
        (["--url", "http://localhost:1", "--port", "1", "LogOut"], "leave --host and --port out"),
        (["completion", "tcsh"], "SHELL is one of bash, zsh, fish"),
    ],
)
def test_a_wrong_command_line_says_what_is_allowed_and_sends_nothing(node: Node, words: list[str], why: str) -> None:
    with pytest.raises(click.ClickException) as caught, command.make_context("bs-cli", list(words)) as context:
        command.invoke(context)
    assert why in caught.value.format_message()
    assert node.requests == []


def test_a_wrong_command_line_is_code_1(tmp_path: Path) -> None:
    for words in (["Quer"], ["--nonsense"], ["QueryBackupStorage", "statu=x"], []):
        done = bs_cli(tmp_path, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Error: " in done.stderr
        assert "Traceback" not in done.stderr
