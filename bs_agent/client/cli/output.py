"""What an answer is printed as: a table for people, JSON or YAML whole, or lines of cells between tabs for programs."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import click

Form = Literal["table", "json", "yaml", "tsv"]
FORMS: tuple[Form, ...] = ("table", "json", "yaml", "tsv")

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def print_answer(answer: Mapping[str, Any], form: Form, fields: Sequence[str] = ()) -> None:
    """Print an answer of the API; `fields` are the columns that were asked for."""
    if form == "json":
        click.echo(to_json(answer))
    elif form == "yaml":
        click.echo(to_yaml(answer))
    elif form == "tsv":
        for line in to_tsv(answer, fields):
            click.echo(line)
    else:
        from bs_agent.client.cli.tables import show_answer  # noqa: PLC0415  rich is slow to import

        show_answer(answer, fields)


def to_json(answer: object) -> str:
    """Write an answer as people and programs read it."""
    return json.dumps(answer, indent=4, sort_keys=True, ensure_ascii=False)


def to_yaml(answer: object) -> str:
    """Write an answer as YAML: its texts as in JSON, which YAML takes too, wherever it could take them for another."""
    return "\n".join(_yaml(answer))


def to_tsv(answer: Mapping[str, Any], fields: Sequence[str] = ()) -> Iterator[str]:
    r"""Yield a heading and a line for each inventory; an answer without inventories is one line.

    A tab, a line end and a backslash in a text are written `\t`, `\n` and `\\`; what has no value is empty.
    """
    entries = answer.get("inventories")
    if entries is None:
        one = answer.get("inventory")
        entries = [one] if isinstance(one, dict) else [{name: answer[name] for name in answer if name != "success"}]
    names = list(fields) or sorted({name for entry in entries for name in entry})
    yield "\t".join(names)
    for entry in entries:
        yield "\t".join(_cell(entry.get(name)) for name in names)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return ",".join(_cell(one) for one in value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _yaml(value: object) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name in sorted(value):
            yield from _below(f"{_scalar(name)}:", value[name], indent="  ")
    elif isinstance(value, list) and value:
        for one in value:
            yield from _item(_yaml(one))
    else:
        yield _scalar(value)


def _below(head: str, value: object, indent: str) -> Iterator[str]:
    """Write a value behind its name, or below it where it has lines of its own."""
    if isinstance(value, Mapping | list) and value:
        yield head
        yield from (f"{indent}{line}" for line in _yaml(value))
    else:
        yield f"{head} {_scalar(value)}"


def _item(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{'- ' if number == 0 else '  '}{line}"


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)
