"""Wrong command lines: what is wrong, where, and what is allowed; nothing is sent."""

import io
from pathlib import Path

import click
import pytest

from bs_agent.client.cli.arguments import parse_condition_word
from bs_agent.client.cli.cli import command
from bs_agent.client.cli.session import Session, save
from bs_agent.contract.inventory import BackupStorageInventory
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
        (["QueryBackupStorage", "status=Conected"], "status is never 'Conected'; did you mean Connected?"),
        (["QueryBackupStorage", "status?=Connected,Conecting"], "never 'Conecting'; did you mean Connecting?"),
        (["QueryBackupStorage", "status!=Up"], "there are Connecting, Connected, Disconnected"),
        (["QueryBackupStorage", "mons.status=disconected"], "mons.status is never 'disconected'; did you mean Disc"),
        (["QueryBackupStorage", "state=off"], "state is never 'off'; there are Enabled, Disabled"),
        (["QueryBackupStorage", "zone.state=Enable"], "zone.state is never 'Enable'; did you mean Enabled?"),
        (["QueryBackupStorage", "type=imagestore"], "did you mean ImageStoreBackupStorage?"),
        (["QueryCephBackupStorage", "poolSecurityPolicy=erasure"], "poolSecurityPolicy is never 'erasure'"),
        (["QuerySystemTag", "type=system1"], "type is never 'system1'; did you mean System?"),
        (["QuerySystemTag", "resourceType=BackupStorage"], "did you mean BackupStorageVO?"),
        (["QueryAccount", "type=Admin"], "type is never 'Admin'; did you mean SystemAdmin?"),
        (["QueryBackupStorage", "capacityStale=maybe"], "'maybe' is no boolean: capacityStale is true or false"),
        (["QueryBackupStorage", "capacityStale>true"], "> does not apply to it"),
        (["QueryBackupStorage", "totalCapacity>1T"], "'1T' is no number"),
        (["QueryBackupStorage", "sshPort?=22,x"], "'x' is no number"),
        (["QueryBackupStorage", "sshPort~=2"], "sshPort is no text; compare it by = != >"),
        (["QueryBackupStorage", "createDate>yesterday"], "'yesterday' is no date: createDate is a date such as"),
        (["QueryBackupStorage", "uuid=image-store"], "is no uuid, which has 32 hexadecimal digits; write name=image-s"),
        (["QueryBackupStorage", "zone.uuid=z"], "write zone.name=z"),
        (["QueryBackupStorage", "mons.monUuid!=m"], "write mons.hostname!=m"),
        (["QueryBackupStorage", "attachedZoneUuids=z"], "write zone.name=z"),
        (["QuerySession", "accountUuid=admin"], "'admin' is no uuid, which has 32 hexadecimal digits"),
        (["GetBackupStorageCapacity"], "say which: all=true, backupStorageUuids=A,B or zoneUuids=A,B"),
        (["AddImageStoreBackupStorage", "name=a"], "hostname and url are left out; for example `bs-cli AddImageStore"),
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


@pytest.mark.parametrize(
    "word",
    ["status=CONNECTED", "type=ceph", "type=SomethingNewer", "capacityStale=1", "totalCapacity>1e12", "state=null",
     "uuid=1AB3B836-A883-42E1-BBC1-B1A17D092F0F", "createDate>2018-04-11", "status~=onn"],
)  # fmt: skip
def test_values_that_a_field_may_have(word: str) -> None:
    assert parse_condition_word(BackupStorageInventory, word)


def test_a_wrong_command_line_is_code_2(tmp_path: Path) -> None:
    for words in (["Quer"], ["--nonsense"], ["QueryBackupStorage", "statu=x"], []):
        done = bs_cli(tmp_path, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Error: " in done.stderr
        assert "Traceback" not in done.stderr
