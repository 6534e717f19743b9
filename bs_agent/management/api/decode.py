"""From a request to the parameters of an API: path, query string and body, as all the clients there are send them."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from aiohttp import web
from pydantic import ValidationError

from bs_agent.contract.api import Api, Parameters
from bs_agent.contract.errors import InvalidArgument, RequestError, explain
from bs_agent.daemon.http import read_json

Raw = dict[str, Any]

_TAGS = ("systemTags", "userTags")


async def read_body(request: web.Request) -> Raw:
    """Return the body, which is an object.

    Raises:
        RequestError: it is something else.
    """
    body = await read_json(request)
    if not isinstance(body, dict):
        raise RequestError("the body must be a JSON object")
    return body


def choose(apis: Mapping[str, Api], body: Raw, path: str) -> Api:
    """Return the API whose key the body has; one without a key is chosen when no other fits.

    Raises:
        RequestError: there is none.
    """
    for key in body:
        if key in apis:
            return apis[key]
    if "params" in apis:  # a creation without parameters misses them, and says which
        return apis["params"]
    if "" in apis:
        return apis[""]
    raise RequestError(
        f"the body doesn't contain action mapping to the URL[{path}]; it must hold one of {', '.join(sorted(apis))}"
    )


def collect(request: web.Request, api: Api, body: Raw) -> Raw:
    """Gather what the request says of the API's parameters; what stands in the path wins.

    Raises:
        RequestError: the value under the body's key is no object, or a single value is given twice.
    """
    raw = _from_body(api, body) if api.body_key else {**body, **_from_query(request, api)}
    return {**raw, **request.match_info}


def validate(api: Api, raw: Raw) -> Parameters:
    """Check the parameters. One that is null is left out: some clients send what they were not given so.

    Raises:
        RequestError: one has a wrong type.
        InvalidArgument: one has a value that is not allowed, or is missing.
    """
    for name, value in raw.items():
        if any("\0" in text for text in _texts(value)):
            raise InvalidArgument(f"field[{name}]: a text cannot hold the character NUL")
    try:
        return api.parameters.model_validate({name: value for name, value in raw.items() if value is not None})
    except ValidationError as error:
        types = {fault["type"] for fault in error.errors(include_url=False, include_input=False)}
        if any(type_.endswith(("_type", "_parsing")) for type_ in types):
            raise RequestError(explain(error)) from None
        raise InvalidArgument(explain(error)) from None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, str))


def _from_body(api: Api, body: Raw) -> Raw:
    """Return the object under the key. Tags may stand beside the key or in the object."""
    inner = body.get(api.body_key)
    if not isinstance(inner, dict | None):
        raise RequestError(f"field[{api.body_key}] of the body must be an object")
    raw: Raw = {**(inner or {})}
    for name in _TAGS:
        beside, inside = body.get(name), raw.get(name)
        if isinstance(beside, list) and isinstance(inside, list):
            raw[name] = [*beside, *inside]
        elif beside is not None and inside is None:
            raw[name] = beside
    return raw


def _from_query(request: web.Request, api: Api) -> Raw:
    raw: Raw = {}
    for name in request.query:
        if name not in api.parameters.model_fields:
            continue  # newer clients send more, and some their session
        values = request.query.getall(name)
        if _is_list(api.parameters, name):
            raw[name] = values
        elif len(values) > 1:
            raise RequestError(
                f"Invalid query parameter[{name}], only one value is allowed but there are {len(values)}"
            )
        else:
            raw[name] = values[0]
    return raw


def _is_list(model: type[Parameters], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return list in {get_origin(annotation), *(get_origin(option) for option in get_args(annotation))}
