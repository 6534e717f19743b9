"""The words of a command line -> the parameters of an API; pure apart from the files that `NAME=@FILE` names.

A query takes conditions as they are (`status=Connected`, `name~=store`, `description=null`) and its parameters as
`NAME=VALUE` (`limit=10`, `fields=name,uuid`). A secret never stands on the command line: it is asked or read.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bs_agent.client.cli import catalog
from bs_agent.client.cli.catalog import Field
from bs_agent.client.cli.commands import VERB_CALLS
from bs_agent.client.cli.faults import UsageFault, either, near, nearest
from bs_agent.client.cli.manual import example
from bs_agent.client.cli.values import check_value
from bs_agent.contract.api import APIS
from bs_agent.contract.declaration import Api
from bs_agent.contract.errors import RequestError
from bs_agent.contract.inventory import Inventory
from bs_agent.contract.query import Operator, parse_condition

MAX_FILE = 64 * 1024

_WITH_SECRETS = frozenset({"monUrls", "systemTags", "userTags"})
_ADDRESS = re.compile(r"\[[^\"\]]*:[^\"\]]*\]")
_SECRET_ITEM = re.compile(r"agentEnrollment::|(^|[=,\[\"])[^@,\s]*:[^@\s]+@")

NEW = "new "

ONE_OF = {"GetBackupStorageCapacity": ("all=true", "backupStorageUuids=A,B", "zoneUuids=A,B")}
"""Of these parameters one is needed, though none of them by itself."""

Ask = Callable[[str], str]
"""Asks for a secret by name; one that is `new ` should be asked twice."""


def api_named(name: str) -> Api:
    """Return the API of a command.

    Raises:
        UsageFault: there is none of this name; the message says which come near.
    """
    if name in APIS:
        return APIS[name]
    verbs = {verb.partition(" ")[0] for verb in VERB_CALLS}
    close = near(name, verbs) or [one for one in APIS if name.casefold() in one.casefold()] or near(name, APIS)
    hint = f"did you mean {either(close)}?" if close else "`bs-cli --help` lists the commands"
    raise UsageFault(f"there is no command {name!r}; {hint}")


def parse_words(api: Api, words: Sequence[str], ask: Ask) -> dict[str, object]:
    """Return the parameters that the words give.

    Raises:
        UsageFault: a word is neither a parameter nor a condition, or a secret stands open.
    """
    known = catalog.parameters(api)
    values: dict[str, object] = {}
    conditions: list[str] = []
    for word in words:
        name, equals, text = word.partition("=")
        if equals and name in known:
            _put(values, known[name], text, ask)
        elif api.queries:
            conditions.append(parse_condition_word(api.queries, word, known))
        elif equals:
            raise UsageFault(f"{api.name} has no parameter {name!r}; {nearest(name, known)}")
        else:
            raise UsageFault(f"{word!r} is no NAME=VALUE; {nearest(word, known)}")
    for field in known.values():
        if field.secret and field.needed and field.name not in values:
            values[field.name] = ask(f"{NEW if api.needs_session else ''}{field.name}")
    if api.queries:
        values["conditions"] = conditions
        _check_names(api.queries, values)
    return values


def missing(api: Api, values: Mapping[str, object]) -> str:
    """Say which parameters are needed and not given, with an example; nothing if all are there."""
    choice = ONE_OF.get(api.name, ())
    if choice and not any(values.get(name.partition("=")[0]) for name in choice):
        return f"say which: {either(choice)}"
    absent = [field.name for field in catalog.parameters(api).values() if field.needed and field.name not in values]
    if not absent:
        return ""
    named = " and ".join(filter(None, [", ".join(absent[:-1]), absent[-1]]))
    return f"{named} {'are' if len(absent) > 1 else 'is'} left out; for example `{example(api)}`"


def parse_condition_word(inventory: type[Inventory], word: str, known: Iterable[str] = ()) -> str:
    """Return a condition as the API wants it: `null` and the wildcards of `~=` are conveniences of the command line.

    Raises:
        UsageFault: it is no condition, or names a field that cannot be queried.
    """
    try:
        condition = parse_condition(word)
    except RequestError:
        signs = " ".join(operator.value for operator in Operator if "null" not in operator)
        raise UsageFault(
            f"{word!r} is no condition: write FIELD, one of {signs}, and VALUE, for example status=Connected"
        ) from None
    if catalog.field_named(inventory, condition.field) is None:
        names = [*catalog.names(inventory), *known]
        raise UsageFault(f"{word!r}: {condition.field!r} cannot be queried; {nearest(condition.field, names)}")
    sign, value = condition.operator, condition.value
    if sign in {Operator.IS_NULL, Operator.NOT_NULL}:
        return f"{condition.field} {sign}"
    if value == "null" and sign in {Operator.EQUAL, Operator.NOT_EQUAL}:
        return f"{condition.field} {Operator.IS_NULL if sign is Operator.EQUAL else Operator.NOT_NULL}"
    check_value(inventory, word, condition)
    if sign in {Operator.LIKE, Operator.NOT_LIKE} and not re.search("[%_]", value):
        value = f"%{value}%"
    return f"{condition.field}{sign}{value}"


def shows_secret(api: Api, word: str) -> bool:
    """Tell whether a word holds a secret in the open: such a line is not kept in a history."""
    name, _, text = word.partition("=")
    field = catalog.parameters(api).get(name)
    if field and field.secret:
        return bool(text) and text != "-" and not text.startswith("@")
    return name == "sessionUuid" or _SECRET_ITEM.search(word) is not None


def _check_names(inventory: type[Inventory], values: Mapping[str, object]) -> None:
    sortable = catalog.sortable(inventory)
    for parameter, known in {"fields": catalog.shown(inventory), "sortBy": sortable, "groupBy": sortable}.items():
        given = values.get(parameter, [])
        for name in given if isinstance(given, list) else [given]:
            if name not in known:
                raise UsageFault(f"{parameter}={name}: there is no such field; {nearest(str(name), known)}")


def _put(values: dict[str, object], field: Field, text: str, ask: Ask) -> None:
    if field.name in values and not field.many:
        raise UsageFault(f"{field.name} is given twice")
    if field.secret:
        values[field.name] = _secret(field, text, ask)
    elif field.many:
        before = values.setdefault(field.name, [])
        if isinstance(before, list):
            before += _items(field, text, ask)
    else:
        values[field.name] = text


def _secret(field: Field, text: str, ask: Ask) -> str:
    if text == "-":
        return ask(field.name)
    if text.startswith("@"):
        return _read(field.name, text[1:]).split("\n", 1)[0].removesuffix("\r")
    raise UsageFault(_open_secret(field.name, "is a secret"))


def _open_secret(name: str, why: str) -> str:
    return (
        f"{name} {why} and others can see a command line: write {name}=- to be asked "
        f"(or to read a line from a pipe), or {name}=@FILE"
    )


def _items(field: Field, text: str, ask: Ask) -> list[str]:
    """Return the items of a list: `a,b`, a JSON list for items with commas, the lines of `@FILE`, or what is asked."""
    if text.startswith("@"):
        return [line.strip() for line in _read(field.name, text[1:]).splitlines() if line.strip()]
    if field.name in _WITH_SECRETS and _SECRET_ITEM.search(text):
        raise UsageFault(_open_secret(field.name, "holds a secret"))
    if text == "-":
        text = ask(field.name)
    if text.startswith("[") and not _ADDRESS.match(text):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise UsageFault(f"{field.name}: is not a JSON list: {error}") from None
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise UsageFault(f"{field.name}: must be a JSON list of texts")
        return found
    return [item.strip() for item in text.split(",") if item.strip()]


def _read(name: str, path: str) -> str:
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            text = file.read(MAX_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise UsageFault(f"{name}: {path}: {reason}") from None
    if len(text) > MAX_FILE:
        raise UsageFault(f"{name}: {path}: is larger than {MAX_FILE} bytes")
    return text
