"""What may come next on a command line. Pure: the values that exist are asked through `Names`.

The interactive prompt and the completion scripts of the shells share it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from bs_agent.client.cli import catalog
from bs_agent.client.cli.catalog import TAG_FIELDS, Field
from bs_agent.client.cli.commands import COMMANDS, VERB_CALLS, VERBS
from bs_agent.contract.api import APIS
from bs_agent.contract.declaration import Api
from bs_agent.contract.query import Operator

ACROSS, FIELDS, PARAMETERS, OPERATORS, VALUES = "Across tables", "Fields", "Parameters", "Operators", "Values"
EVERY_DAY, VERBS_BELOW = "Every day", "Verbs"
SHELLS = ("bash", "zsh", "fish")

_WORD = re.compile(r"(?P<name>[A-Za-z0-9_.]*)(?P<sign>!\?=|!~=|\?=|~=|!=|>=|<=|=|>|<)?(?P<rest>.*)", re.DOTALL)

Names = Callable[[Api, str, str], Sequence[tuple[str, str]]]
"""Returns values of a field at the management node that contain a text, each with a note: for a uuid the name."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to go on: what is shown and typed, in which group, and whether the word ends with it."""

    label: str
    group: str
    note: str = ""
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """The ways to go on: each makes the word `stem` + its label."""

    stem: str
    offers: list[Offer]

    def common(self) -> tuple[str, bool]:
        """Return how far all of them agree, and whether the word ends there."""
        if not self.offers:
            return "", False
        first, last = (choose(offer.label for offer in self.offers) for choose in (min, max))
        agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
        return self.stem + first[:agreed], len(self.offers) == 1 and self.offers[0].ends


def complete(words: Sequence[str], current: str, names: Names, *, anywhere: bool = False) -> Completion:
    """Return how the current word after `words` can go on, in any case; those that begin with what is typed win.

    With `anywhere`, and only if none begins with it, what is typed may stand anywhere in a label.
    """
    stem, offers = _offers(words, current, names)
    typed = current[len(stem) :].casefold()
    starting = [offer for offer in offers if offer.label.casefold().startswith(typed)]
    if starting or not anywhere:
        return Completion(stem, starting)
    return Completion(stem, [offer for offer in offers if typed in offer.label.casefold()])


def _offers(words: Sequence[str], current: str, names: Names) -> tuple[str, list[Offer]]:
    if not words:
        return "", _commands()
    if words[0] == "completion" and len(words) == 1:
        return "", [Offer(shell, VALUES, ends=True) for shell in SHELLS]
    verb = " ".join(words[:2]) if " ".join(words[:2]) in VERB_CALLS else words[0]
    if verb in VERB_CALLS:
        return _of_verb(verb, words, current, names)
    api = APIS.get(words[0])
    found = _WORD.fullmatch(current)
    if api is None or found is None:
        return "", []
    name, sign, rest = found["name"], found["sign"], found["rest"]
    parameter = catalog.parameters(api).get(name)
    if sign == "=" and parameter:
        given = dict(word.partition("=")[::2] for word in words[1:])
        stem, offers = _parameter_values(api, parameter, rest, names, given)
        return f"{name}={stem}", offers
    field = catalog.field_named(api.queries, name) if api.queries else None
    if sign and field:
        stem, offers = _field_values(field, Operator(sign), rest, partial(_existing, api, name, names))
        return f"{name}{sign}{stem}", offers
    operators = [Offer(f"{name}{one}", OPERATORS) for one in field.operators] if field else []
    if sign or rest:
        return "", operators if not sign else []
    stem, offers = _names(api, name, {word.partition("=")[0] for word in words[1:]})
    operators = [Offer(offer.label.removeprefix(stem), OPERATORS) for offer in operators]
    return stem, [*operators, *(offer for offer in offers if not field or f"{stem}{offer.label}" != f"{name}=")]


def _of_verb(verb: str, words: Sequence[str], current: str, names: Names) -> tuple[str, list[Offer]]:
    """Return what may follow a verb: a verb below it, a name, and what its call takes."""
    call = VERB_CALLS[verb]
    below = " " in verb
    if below and len(words) == 2:
        found = names(APIS["QueryBackupStorage"], "name", current)
        return "", [Offer(name, VALUES, note, ends=True) for name, note in found]
    if not call:
        return "", []
    stem, offers = _offers([call, *words[2 if below else 1 :]], current, names)
    if below:
        return stem, [offer for offer in offers if offer.label != "uuid="]
    more = [Offer(one.partition(" ")[2], VERBS_BELOW, ends=True) for one in VERB_CALLS if one.startswith(f"{verb} ")]
    return stem, [*(more if len(words) == 1 and not stem else []), *offers]


def _commands() -> list[Offer]:
    verbs = dict.fromkeys(verb.partition(" ")[0] for verb in VERBS)
    short = [
        Offer(name, EVERY_DAY, next((d for v, d in VERBS.items() if v.startswith(name)), ""), True) for name in verbs
    ]
    found = [
        Offer(name, subject, does, ends=True) for subject, names in COMMANDS.items() for name, does in names.items()
    ]
    return [*short, *found, Offer("completion", "Others", "Print the completion script of a shell.", ends=True)]


def _names(api: Api, typed: str, given: set[str]) -> tuple[str, list[Offer]]:
    """Return what a word may begin with: a table, a field, a parameter; behind `zone.` its fields."""
    parameters = [
        Offer(f"{field.name}=", PARAMETERS, field.description)
        for field in catalog.parameters(api).values()
        if field.many or field.name not in given
    ]
    if api.queries is None:
        return "", parameters
    table, dot, _ = typed.partition(".")
    tables = catalog.tables(api.queries)
    if dot:
        fields = catalog.fields(tables[table]) if table in tables else {}
        offers = [_field(field, f"Fields of {table}") for name, field in fields.items() if name not in TAG_FIELDS]
        return f"{table}.", offers
    across = [Offer(f"{name}.", ACROSS, to.__doc__ or "") for name, to in tables.items()]
    return "", [*across, *(_field(field, FIELDS) for field in catalog.fields(api.queries).values()), *parameters]


def _field(field: Field, group: str) -> Offer:
    return Offer(f"{field.name}=", group, field.description)


def _field_values(
    field: Field, sign: Operator, value: str, existing: Callable[[str], Sequence[tuple[str, str]]]
) -> tuple[str, list[Offer]]:
    stem, given = _begun(value) if sign in {Operator.IN, Operator.NOT_IN} else ("", [])
    ends = not given and sign not in {Operator.IN, Operator.NOT_IN}
    offers = [Offer(one, VALUES, ends=ends) for one in field.values]
    if not offers and field.kind == "text":
        offers = [Offer(one, VALUES, note, ends) for one, note in existing(value[len(stem) :])]
    if field.nullable and sign in {Operator.EQUAL, Operator.NOT_EQUAL}:
        offers.append(Offer("null", VALUES, "has no value", ends=True))
    return stem, [offer for offer in offers if offer.label not in given]


def _existing(api: Api, name: str, names: Names, typed: str) -> Sequence[tuple[str, str]]:
    """Ask for the values that a field of a condition has; those of another table at the API that lists it."""
    if api.queries is None:
        return []
    if name in TAG_FIELDS:
        return names(APIS[f"Query{name.strip('_').removesuffix('Tag').capitalize()}Tag"], "tag", typed)
    table, dot, rest = name.partition(".")
    across = catalog.queries(catalog.tables(api.queries)[table]) if dot else None
    if across:
        return names(across, rest, typed)
    of_others = catalog.named_by(api, name) if name.endswith("Uuids") else []
    return names(*of_others[0], typed) if of_others else names(api, name, typed)


def _parameter_values(
    api: Api, field: Field, value: str, names: Names, given: Mapping[str, str]
) -> tuple[str, list[Offer]]:
    if field.secret:
        return "", [Offer("-", VALUES, "asks for it", ends=True), Offer("@", VALUES, "reads it from a file")]
    if api.queries and field.name == "fields":
        stem, begun = _begun(value)
        return stem, [Offer(f"{name},", FIELDS) for name in catalog.shown(api.queries) if name not in begun]
    if api.queries and field.name in {"sortBy", "groupBy"}:
        return "", [Offer(name, FIELDS, ends=True) for name in catalog.sortable(api.queries)]
    if field.values:
        return "", [Offer(one, VALUES, ends=True) for one in field.values]
    stem, begun = _begun(value) if field.many else ("", [])
    existing = [
        one for api, name in catalog.named_by(api, field.name, given) for one in names(api, name, value[len(stem) :])
    ]
    return stem, [Offer(value, VALUES, note, not field.many) for value, note in existing if value not in begun]


def _begun(value: str) -> tuple[str, list[str]]:
    """Split a list that is being typed: the part up to the last comma, and the items there are."""
    stem = value[: value.rfind(",") + 1]
    return stem, stem.split(",")[:-1]
