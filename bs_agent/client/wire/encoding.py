"""From an API and its parameters to an HTTP request: where each parameter travels. Pure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from pydantic import BaseModel, SecretStr

from bs_agent.contract.declaration import PREFIX, Api, Parameters, QueryParameters
from bs_agent.contract.errors import InvalidArgument

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `target` is the encoded path with its query string. `body` may hold secrets: never log it."""

    method: str
    target: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the body as it is."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, whatever it holds."""
        return self.body.decode(errors="replace")


def encode(api: Api, parameters: Parameters) -> Request:
    """Lay the parameters out as the API wants them.

    Raises:
        InvalidArgument: a value of the path would name another path.
    """
    values = {name: _plain(value) for name, value in parameters if value is not None and value != []}
    path = PREFIX + _path(api, values)
    if isinstance(parameters, QueryParameters):
        return Request(api.method, _target(path, _query(parameters)))
    if api.method in {"GET", "DELETE"}:
        return Request(api.method, _target(path, _pairs(values)))
    tags = {name: values.pop(name) for name in ("systemTags", "userTags") if name in values}
    return Request(api.method, path, json.dumps({api.body_key: values, **tags}).encode())


def _path(api: Api, values: dict[str, object]) -> str:
    """Fill the longest path whose variables are all given; takes these from the values."""
    path = max((path for path in api.paths if _variables(path) <= values.keys()), key=len)
    for name in _variables(path):
        text = str(values.pop(name))
        if text in {"", ".", ".."}:
            raise InvalidArgument(f"field[{name}]: must not be empty, `.` or `..`")
        path = path.replace(f"{{{name}}}", quote(text, safe=""))
    return path


def _variables(path: str) -> set[str]:
    return {part[1:-1] for part in path.split("/") if part.startswith("{")}


def _query(parameters: QueryParameters) -> Iterator[tuple[str, str]]:
    for condition in parameters.conditions:
        yield "q", condition
    for name in ("limit", "start", "count", "groupBy", "replyWithCount", "filterName"):
        if (value := getattr(parameters, name)) is not None:
            yield name, _text(value)
    if parameters.sortBy:
        yield "sort", {"asc": "+", "desc": "-", None: ""}[parameters.sortDirection] + parameters.sortBy
    if parameters.fields:
        yield "fields", ",".join(parameters.fields)
    for name in ("systemTags", "userTags"):
        for tag in getattr(parameters, name):
            yield name, tag


def _pairs(values: dict[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            yield name, _text(item)


def _target(path: str, pairs: Iterator[tuple[str, str]]) -> str:
    query = urlencode(list(pairs), quote_via=quote, safe="")
    return f"{path}?{query}" if query else path


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: object) -> object:
    """Return what JSON can hold, secrets revealed."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json", exclude_none=True) if isinstance(value, BaseModel) else value
