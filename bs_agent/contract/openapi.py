"""The OpenAPI 3.1 document of the public API, built from the declarations alone. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from bs_agent import __version__
from bs_agent.contract.api import APIS
from bs_agent.contract.calls_account import LOG_IN
from bs_agent.contract.declaration import PREFIX, Api
from bs_agent.contract.errors import (
    ApiError,
    BodyTooLarge,
    NoSuchPath,
    RequestError,
    RequestTimeout,
    StorageProblem,
    TimeTooSkewed,
    TooManyRequests,
    UnsupportedEncoding,
)
from bs_agent.contract.examples import VALUES, parameters_example, path_example
from bs_agent.contract.openapi_queries import query_parameters
from bs_agent.contract.openapi_schemas import (
    TAGS,
    Schema,
    model_schemas,
    parameter_schemas,
    reference,
    reply_name,
    reply_schema,
    required,
)

JOB_PATH = "/api-jobs/{uuid}"

_SECURITY: list[dict[str, list[str]]] = [{"session": []}, {"accessKey": []}]
_HEADERS: dict[str, Schema] = {
    "JobUuid": {
        "name": "X-Job-UUID",
        "description": "Run the call as a job of this uuid: it is answered 202, and its result is polled. Used once.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "WebHook": {
        "name": "X-Web-Hook",
        "description": "Run the call as a job, and tell this address of its end. Loopback and link-local addresses are "
        "refused, unless the configuration allows them.",
        "schema": {"type": "string", "format": "uri", "maxLength": 2048},
    },
    "Timeout": {
        "name": "X-API-Timeout",
        "description": "Seconds after which the job is given up.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    },
    "JsonSchema": {
        "name": "X-JSON-Schema",
        "description": "Say in `schema` which class each inventory is.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_ACCEPTED: Schema = {
    "type": "object",
    "description": "Where the job is polled.",
    "required": ["location"],
    "properties": {
        "location": {"type": "string", "format": "uri"},
        "apiTimeout": {"type": "integer", "description": "Milliseconds after which the job is given up."},
    },
}
_ERROR: Schema = {"type": "object", "required": ["error"], "properties": {"error": reference("ErrorCode")}}


def document() -> Schema:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Backup storage API",
            "version": __version__,
            "summary": "The public API of bs-management.",
            "description": "Calls that take long answer with their result; with `X-Job-UUID` or `X-Web-Hook` they run "
            "as a job. A call that failed is answered 503 with an `error`, whose `code` says why.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": PREFIX}],
        "security": _SECURITY,
        "tags": [{"name": name} for name in dict.fromkeys([*(_tag(api.paths[0]) for api in APIS.values()), "jobs"])],
        "paths": _paths() | {JOB_PATH: {"get": _job()}},
        "components": {
            "schemas": _schemas(),
            "responses": _responses(),
            "parameters": {name: {"in": "header"} | header for name, header in _HEADERS.items()},
            "securitySchemes": _security_schemes(),
            "callbacks": {"JobEnded": _job_ended()},
        },
    }


def _paths() -> dict[str, dict[str, Schema]]:
    grouped: dict[str, dict[str, list[Api]]] = {}
    for api in APIS.values():
        for path in api.paths:
            grouped.setdefault(path, {}).setdefault(api.method.lower(), []).append(api)
    return {
        path: {method: _operation(path, apis) for method, apis in methods.items()} for path, methods in grouped.items()
    }


def _operation(path: str, apis: list[Api]) -> Schema:
    """Describe what is served under one path and method: one call, or several that the body tells apart."""
    first = apis[0]
    calls = [{"name": api.name, "summary": api.summary, "long": api.long} for api in apis]
    for call, api in zip(calls, apis, strict=True):
        if api.body_key:
            call["body"] = _body_name(api)
    operation: Schema = {
        "operationId": "_".join(api.name for api in apis) + ("ByUuid" if first.paths.index(path) else ""),
        "summary": " ".join(api.summary for api in apis),
        "tags": [_tag(path)],
        "parameters": _parameters(path, first),
        "responses": _answers(apis),
        "x-calls": calls,
    }
    if first.body_key:
        operation["requestBody"] = _body(apis)
    if first.long:
        operation["callbacks"] = {"JobEnded": {"$ref": "#/components/callbacks/JobEnded"}}
    if not first.needs_session:
        operation["security"] = []
    return operation


def _parameters(path: str, api: Api) -> list[Schema]:
    variables = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    schemas = parameter_schemas(api)
    found = []
    for name in variables:
        schema = schemas.get(name, {"type": "string", "description": "The resource UUID."}) | {"minLength": 1}
        example = path_example(path, name)
        found.append(_parameter(name, "path", schema, needed=True) | ({"example": example} if example else {}))
    if api.queries and not variables:
        found += query_parameters(api.queries)
    elif not api.queries and not api.body_key:
        names = [name for name in schemas if name not in variables]
        found += [_parameter(name, "query", schemas[name], needed=name in required(api)) for name in names]
    headers = ["JobUuid", "WebHook", "Timeout", "JsonSchema"] if api.long else ["JsonSchema"]
    return found + [{"$ref": f"#/components/parameters/{name}"} for name in headers]


def _parameter(name: str, where: str, schema: Schema, *, needed: bool) -> Schema:
    described = {"description": schema["description"]} if "description" in schema else {}
    inner = {key: value for key, value in schema.items() if key != "description"}
    example = {"example": VALUES[name]} if name in VALUES else {}
    return {"name": name, "in": where, "required": needed, **described, "schema": inner, **example}


def _body(apis: list[Api]) -> Schema:
    schemas = [reference(_body_name(api)) for api in apis]
    examples = {api.name: {"summary": api.summary, "value": body_example(api)} for api in apis}
    schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def body_example(api: Api) -> dict[str, Any]:
    """Return an example of the body of a call."""
    names = _in_body(api)
    return {api.body_key: parameters_example(api.name, names, [name for name in required(api) if name in names])}


def _in_body(api: Api) -> list[str]:
    return [name for name in api.parameters.model_fields if name not in {*api.path_variables, *TAGS}]


def _body_schema(api: Api) -> Schema:
    schemas = parameter_schemas(api)
    names = _in_body(api)
    inner: Schema = {"type": "object", "properties": {name: schemas[name] for name in names}}
    if needed := [name for name in required(api) if name in names]:
        inner["required"] = needed
    properties = {api.body_key: inner} | {name: schemas[name] for name in TAGS}
    return {"type": "object", "description": api.summary, "required": [api.body_key], "properties": properties}


def _body_name(api: Api) -> str:
    return f"{api.name}Body"


def _answers(apis: list[Api]) -> Schema:
    replies = [reference(name) for name in dict.fromkeys(reply_name(api.reply) for api in apis)]
    schema = replies[0] if len(replies) == 1 else {"anyOf": replies}
    answers: Schema = {"200": {"description": "The result.", "content": {"application/json": {"schema": schema}}}}
    if apis[0].long:
        answers["202"] = {"$ref": "#/components/responses/Accepted"}
    faults: list[type[ApiError]] = [RequestError]
    faults += [TimeTooSkewed] if apis[0].needs_session else []
    faults += [] if apis[0].queries else [RequestTimeout, BodyTooLarge, UnsupportedEncoding]
    faults += [TooManyRequests] if apis == [LOG_IN] else []
    answers |= {str(fault.http_status): {"$ref": f"#/components/responses/{fault.__name__}"} for fault in faults}
    return answers | {"503": {"$ref": "#/components/responses/Failed"}}


def _responses() -> Schema:
    faults = {
        fault.__name__: _response(f"{fault.description}.", reference("Error"))
        for fault in _tree(RequestError)
        if fault.http_status != ApiError.http_status
    }
    codes = {fault.code: fault.description for fault in _tree(ApiError) if not issubclass(fault, StorageProblem)}
    listed = "\n".join(f"- `{code}`: {codes[code]}" for code in sorted(codes))
    failed = f"The call failed; `error.code` says why:\n\n{listed}\n- `BS.<reason>`: a host or a storage is not well"
    accepted = _response("The call runs as a job.", reference("Accepted"))
    return {"Accepted": accepted, **faults, "Failed": _response(failed, reference("Error"))}


def _response(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _tree(root: type[ApiError]) -> Iterable[type[ApiError]]:
    if "code" in vars(root) or hasattr(root, "code"):
        yield root
    for below in root.__subclasses__():
        if below.__module__ == ApiError.__module__:
            yield from _tree(below)


def _schemas() -> Mapping[str, Schema]:
    replies = {api.reply for api in APIS.values()}
    bodies = {_body_name(api): _body_schema(api) for api in APIS.values() if api.body_key}
    schemas = model_schemas(replies) | {reply_name(reply): reply_schema(reply) for reply in replies} | bodies
    return {"Accepted": _ACCEPTED, "Error": _ERROR} | dict(sorted(schemas.items()))


def _security_schemes() -> Schema:
    header = {"type": "apiKey", "in": "header", "name": "Authorization"}
    signed = "METHOD + newline + Date + newline + /v1 + path"
    return {
        "session": header | {"description": f"`OAuth <uuid of the session>`, as {LOG_IN.name} returns it."},
        "accessKey": header
        | {
            "description": f"`ZStack <AccessKeyID>:<signature>`: base64 of the HMAC-SHA1 of `{signed}` under the "
            "key's secret, with the header `Date: Tue, 24 Nov 2026 03:11:33 Etc/UTC`, at most 15 minutes off."
        },
    }


def _job() -> Schema:
    answers: Schema = {
        "200": _response("The job has ended; this is what its call answers.", {"type": "object"}),
        "202": _response("The job is running.", {"type": "object", "maxProperties": 0}),
        "404": {"$ref": f"#/components/responses/{NoSuchPath.__name__}"},
        "503": {"$ref": "#/components/responses/Failed"},
    }
    uuid = {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "The uuid of the job."}
    return {
        "operationId": "GetJob",
        "summary": "Tell how a job is, or how it ended.",
        "tags": ["jobs"],
        "security": [],
        "parameters": [
            _parameter("uuid", "path", uuid, needed=True), {"$ref": "#/components/parameters/JsonSchema"}
        ],
        "responses": answers,
        "x-calls": [{"name": "GetJob", "summary": "Tell how a job is, or how it ended.", "long": False}],
    }  # fmt: skip


def _job_ended() -> Schema:
    told = {"anyOf": [reference("Error"), {"type": "object", "description": "What the call answers."}]}
    headers = [
        {"name": "X-Job-UUID", "in": "header", "required": True, "schema": {"type": "string"}},
        {"name": "X-Job-Success", "in": "header", "required": True, "schema": {"enum": ["true", "false"]}},
    ]
    post = {
        "summary": "Tell that a job has ended.",
        "description": "Sent after the 202; again, with growing pauses, until it is answered 2xx or given up.",
        "security": [],
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": {"schema": told}}},
        "responses": {"2XX": {"description": "The hook was taken."}},
    }
    return {"{$request.header.X-Web-Hook}": {"post": post}}


def _tag(path: str) -> str:
    return path.split("/")[1]
