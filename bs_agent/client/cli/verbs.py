"""The short verbs: what is done every day, in a word or two, by the calls that the long commands make.

A verb takes the conditions and parameters of its call too, so nothing has to be learnt twice.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from bs_agent.client.cli import catalog
from bs_agent.client.cli.arguments import Ask
from bs_agent.client.cli.commands import VERBS
from bs_agent.client.cli.execute import DONE, FAILED, Answered, Options, call, execute, show_error, uuid_of
from bs_agent.client.cli.faults import UsageFault, nearest
from bs_agent.client.cli.output import print_answer
from bs_agent.client.cli.preview import lines
from bs_agent.client.cli.text import plain
from bs_agent.client.wire.failures import CallFailed
from bs_agent.contract.errors import ResourceNotFound
from bs_agent.contract.inventory import BackupStorageInventory

WARNING, DOWN = 4, 5
"""What `health` exits with when something wants to be looked at, and when a storage cannot be used."""

URGENT, UNUSABLE = 100, 300  # of `urgency`
LAST = 50
CAPACITIES = ("date", "availableCapacity", "totalCapacity", "poolStored", "poolUsedCapacity", "poolMaxAvail")
AGENT_FIELDS = ("hostname", "version", "status", "statusReason", "lastPollDate", "certificateEndDate", "uuid")
EVENT_FIELDS = ("createDate", "type", "resourceName", "newValue", "operation", "outcome", "accountName", "details")
DEBT_FIELDS = ("type", "hostname", "backupStorageName", "createDate", "lastReason", "cure", "uuid")
MON_FIELDS = ("backupStorageName", "hostname", "monAddr", "monPort", "status", "statusReason", "monUuid")

Run = Callable[[Sequence[str], Options, Ask], int]


def is_verb(word: str) -> bool:
    """Tell whether a word is a short verb."""
    return word in {verb.partition(" ")[0] for verb in VERBS}


def verb_help(word: str) -> str:
    """Return what the verbs that begin with a word do."""
    mine = {verb: does for verb, does in VERBS.items() if verb.partition(" ")[0] == word}
    width = max(map(len, mine))
    return "\n".join(["Usage:", *(f"  bs-cli {verb:<{width}}  {does}" for verb, does in mine.items())])


def run(words: Sequence[str], options: Options, ask: Ask) -> int:
    """Run a verb, or the command of an API; returns the exit code.

    Raises:
        UsageFault: the command line is wrong; nothing was changed.
    """
    verb, rest = words[0], words[1:]
    if verb == "storages" and rest and rest[0].isalpha() and not catalog.field_named(BackupStorageInventory, rest[0]):
        verb, rest = f"storages {rest[0]}", rest[1:]
        if verb not in _RUNS:
            known = [name.partition(" ")[2] for name in _RUNS if name.startswith("storages ")]
            raise UsageFault(f"there is no verb `{verb}`; {nearest(words[1], known)}")
    deletes = verb in {"storages delete", "DeleteBackupStorage"}
    if options.dry_run and not deletes:
        raise UsageFault("--dry-run is for `storages delete` and DeleteBackupStorage")
    if options.yes and verb != "storages delete":
        raise UsageFault("--yes is for `storages delete`: nothing else asks")
    if verb in _RUNS:
        try:
            return _RUNS[verb](rest, options, ask)
        except CallFailed as failure:
            show_error(failure.error, options.form)
            return FAILED
    return execute([*words, "dryRun=true"] if options.dry_run else words, options, ask)


def _storages(words: Sequence[str], options: Options, ask: Ask) -> int:
    return _listed("QueryBackupStorage", words, options, ask, sortBy="urgency", sortDirection="desc")


def _jobs(words: Sequence[str], options: Options, ask: Ask) -> int:
    return _listed("QueryJob", words, options, ask, sortBy="createDate", sortDirection="desc", limit=f"{LAST}")


def _agents(words: Sequence[str], options: Options, ask: Ask) -> int:
    return _listed("QueryAgent", words, options, ask, fields=_columns(AGENT_FIELDS, options), sortBy="hostname")


def _events(words: Sequence[str], options: Options, ask: Ask) -> int:
    fields = _columns(EVENT_FIELDS, options)
    return _listed(
        "QueryEvent", words, options, ask, fields=fields, sortBy="uuid", sortDirection="desc", limit=f"{LAST}"
    )


def _debts(words: Sequence[str], options: Options, ask: Ask) -> int:
    return _listed("QueryDebt", words, options, ask, fields=_columns(DEBT_FIELDS, options), sortBy="createDate")


def _columns(names: Sequence[str], options: Options) -> str:
    """Return the fields that a table has room for; nothing where a program reads all of them."""
    return ",".join(names) if options.form == "table" else ""


def _of_one(words: Sequence[str], options: Options, ask: Ask) -> int:
    name, *rest = _name(words, "events")
    return _events([f"resourceUuid={uuid_of(name, options)}", *rest], options, ask)


def _capacity(words: Sequence[str], options: Options, ask: Ask) -> int:
    name, *rest = _name(words, "capacity")
    found = _made(["GetBackupStorageCapacityHistory", f"uuid={name}", *rest], options, ask)
    if options.form in {"json", "yaml"}:
        print_answer(found.answer, options.form)
        return DONE
    points = found.answer["points"]
    fields = [name for name in CAPACITIES if any(name in point for point in points)]
    print_answer({"inventories": points}, options.form, fields or CAPACITIES[:3])
    if options.form == "table":
        days = found.answer.get("daysUntilFull")
        click.echo(
            "it is not filling" if days is None else f"full in {days:.1f} days, if it goes on as in the last month"
        )
    return DONE


def _listed(api: str, words: Sequence[str], options: Options, ask: Ask, **usual: str) -> int:
    """Run a query with parameters that hold unless the words give one of them."""
    given = {word.partition("=")[0] for word in words}
    if {"sortBy", "groupBy", "count"} & given:
        usual = {name: value for name, value in usual.items() if not name.startswith("sort")}
    return execute(
        [api, *words, *(f"{name}={value}" for name, value in usual.items() if name not in given)], options, ask
    )


def _show(words: Sequence[str], options: Options, ask: Ask) -> int:
    name, *rest = _name(words, "show")
    uuid = uuid_of(name, options)
    found = _made(["QueryBackupStorage", f"uuid={uuid}", *rest], options, ask)
    if not found.answer["inventories"]:
        raise CallFailed(ResourceNotFound(f"no backup storage has the uuid {uuid}").shown())
    print_answer({"inventory": found.answer["inventories"][0]}, options.form)
    return DONE


def _reconnect(words: Sequence[str], options: Options, ask: Ask) -> int:
    name, *rest = _name(words, "reconnect")
    return execute(["ReconnectBackupStorage", f"uuid={name}", *rest], options, ask)


def _delete(words: Sequence[str], options: Options, ask: Ask) -> int:
    """Show what the delete would do, and do it once the name was typed, or `--yes` written."""
    name, *rest = _name(words, "delete")
    asks = not (options.dry_run or options.yes)
    if asks and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageFault(
            "`storages delete` asks for the name on a terminal; elsewhere write --yes, or --dry-run to look"
        )
    delete = ["DeleteBackupStorage", f"uuid={name}", *rest]
    previewed = _made([*delete, "dryRun=true"], options, ask)
    preview = previewed.answer.get("inventory")
    if preview is None:  # a uuid that nothing has: a delete has nothing to do
        raise UsageFault(f"there is no backup storage {name}")
    mode = vars(previewed.action)["deleteMode"]
    if options.dry_run and options.form != "table":
        print_answer(previewed.answer, options.form)
        return DONE
    for line in lines(preview, mode):
        click.echo(plain(line), err=not options.dry_run)
    if options.dry_run:
        return DONE
    if asks and not _confirmed(preview):
        raise UsageFault("that is not its name: nothing was deleted")
    return execute(["DeleteBackupStorage", f"uuid={preview['uuid']}", *rest], options, ask)


def _confirmed(preview: Mapping[str, Any]) -> bool:
    typed = click.prompt("Type the name to delete it", default="", show_default=False, err=True)
    return bool(typed) and typed == preview["name"]


def _mons(words: Sequence[str], options: Options, ask: Ask) -> int:
    found = _made(["QueryCephBackupStorage", *words, "fields=name,mons"], options, ask)
    mons = [
        {"backupStorageName": storage.get("name"), **mon}
        for storage in found.answer.get("inventories", [])
        for mon in storage.get("mons", [])
    ]
    shown = MON_FIELDS if options.form in {"table", "tsv"} else ()
    print_answer({"inventories": mons, "success": True}, options.form, shown)
    return DONE


def _health(words: Sequence[str], options: Options, ask: Ask) -> int:
    if words:
        raise UsageFault(f"`health` takes no words, not {words[0]!r}")
    query = ["QueryBackupStorage", "state=Enabled", "sortBy=urgency", "sortDirection=desc", "limit=1"]
    word, code = "unknown", FAILED
    try:
        found = call([*query, "fields=name,urgency"], options, ask)
    except UsageFault as fault:  # nobody is logged in
        click.echo(fault.message, err=True)
    else:
        if found.error:
            show_error(found.error)
        else:
            worst = max((one["urgency"] for one in found.answer["inventories"]), default=0)
            word, code = (
                ("down", DOWN) if worst >= UNUSABLE else ("warning", WARNING) if worst >= URGENT else ("ok", DONE)
            )
    if options.output in {"json", "yaml"}:
        print_answer({"health": word}, options.form)
    else:
        click.echo(word)
    return code


def _name(words: Sequence[str], verb: str) -> Sequence[str]:
    """Return the words of a verb that begins with a name.

    Raises:
        UsageFault: there is none.
    """
    if not words:
        raise UsageFault(
            f"`storages {verb}` wants the name or the uuid of a backup storage; `bs-cli storages` lists them"
        )
    return words


def _made(words: Sequence[str], options: Options, ask: Ask) -> Answered:
    """Make a call and return what it brought.

    Raises:
        CallFailed: an error.
    """
    found = call(words, options, ask)
    if found.error:
        raise CallFailed(found.error)
    return found


_RUNS: dict[str, Run] = {
    "storages": _storages,
    "storages show": _show,
    "storages reconnect": _reconnect,
    "storages delete": _delete,
    "storages capacity": _capacity,
    "storages events": _of_one,
    "agents": _agents,
    "mons": _mons,
    "jobs": _jobs,
    "events": _events,
    "debts": _debts,
    "health": _health,
}
