"""Writes the pages that derive from the code: configuration reference, errors with their cures, calls of the API."""

import re
import sys
from pathlib import Path

from bs_agent.agent import config as agent
from bs_agent.contract import errors
from bs_agent.contract.api import APIS, PREFIX, Api
from bs_agent.contract.inventory import BACKUP_STORAGE_KINDS
from bs_agent.contract.reasons import REASONS
from bs_agent.daemon.configuration import reference
from bs_agent.management import config as management

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from monitoring import alerts, dashboards  # noqa: E402  beside this file, which is no package

MONITORING = HERE / "monitoring"
NOTE = "<!-- Written by docs/generate.py from the code (`make docs`): do not edit. -->\n"

NONE = "The details say what is allowed, or the cause what is not well."

CONFIGURATION = """# Configuration

Two TOML files, `{agent}` and `{management}`; `--config FILE` names another. Every key has a default, so an empty file
is valid. What the environment says wins over the file, and the command line over both. `bs-agent check-config` and
`bs-management check-config` report every fault at once, each with its line, its variable or the option that it is from.
SIGHUP (`systemctl reload`) reads the file again; a bad one
keeps the old configuration.

## agent.toml

{agent_keys}
## management.toml

{management_keys}"""

ERRORS = """# Errors

Every failure of the public API is answered with `{{"error": {{"code", "description", "details"}}}}`, and `cause` where
another error is behind it. `details` says what was seen; this page says what it means, and what to do. bs-cli shows the
cure under the error, and as `elaboration` in its JSON; an error of the client itself (`sdk.1000` an answer that is none
of the API, `sdk.1001` a job that was not waited for, `sdk.1002` no answer) brings its own.

## Codes of the API

| code | HTTP status | meaning | cure |
| --- | --- | --- | --- |
{codes}

## Hosts and storages

A host or a storage that is not well gives its reason in `statusReason` of an inventory, and as the code `BS.<reason>`
in an error or its cause. While a reason marked with a star holds, the host counts as Disconnected.

| reason | meaning | cure |
| --- | --- | --- |
{reasons}
"""

API = """# The public API

Every call, as `bs_agent/contract/` declares it; the paths stand below `{prefix}`. Parameters in braces travel in the
path, those of a POST or PUT as the object under the named key of the JSON body, those of a GET or DELETE in the query
string.
The last column says how a call answers:

- **query**: `{{"inventories": [...], "success": true}}`; `q` (repeated, all hold), `limit`, `start`, `sort`, `count`,
  `replyWithCount`, `fields` and `groupBy` as parameters.
- **job**: may take long. A caller that sends `X-Job-UUID` or `X-Web-Hook` gets 202 and polls
  `{prefix}/api-jobs/{{uuid}}`; another one gets the result itself.
- **at once**: the result itself, always.

All but the calls marked *no session* want `Authorization: OAuth <session>` or a request signed with an access key.
Errors are on [their own page](errors.md).

A uuid may be written in capitals, with hyphens or with blanks around it: it is brought into its one form, 32 lower-case
hexadecimal digits. Any other text names nothing: a query finds nothing, a sum counts nothing, a delete has nothing to
do, and every other call is answered `SYS.1003`. A `resourceUuid` must be a uuid, and one that no resource of any kind
has. What `X-Job-UUID` holds is the caller's own: 32 letters, digits, `_` or `-`, kept as they are.

`systemTags` and `userTags` may go with every call that creates or changes something, and are kept with the resource.
They are checked, as all parameters, before a call does anything. These system tags mean something; those of the first
two kinds speak of their call only and are not kept, though the key that was pinned is shown as `sshHostKey::...`:

- `agentEnrollment::<code>`, `agentEnrollment::<hostname>::<code>`: a code of `bs-agent enroll`, to enter a host by
- `sshHostKey::<fingerprint>`, `sshHostKey::<hostname>::<fingerprint>`: the host key that SSH must meet
- `removePool::<poolName>`: a delete removes the pool, if the add made it and it is empty
- `writeProbe::true`, `writeProbe::false`: whether the agents probe a pool by writing to it

A user tag means nothing to the management node, whatever it looks like. An enrolment code is a secret: a call that has
one in any other text is refused, and the answer does not repeat it.

| call | method and path | body key | parameters (**needed**) | answers |
| --- | --- | --- | --- | --- |
{calls}

## What can be queried

Conditions are `field`, an operator and a value: `=` `!=` `>` `>=` `<` `<=` `?=` (in) `!?=` (not in) `~=` (like) `!~=`
(not like), or `field is null`, `field not null`. A name with a dot goes on in another table. `__systemTag__` and
`__userTag__` are fields of every resource. An unknown field is answered with the fields there are.

| query | fields | across tables |
| --- | --- | --- |
{queries}
"""


def pages() -> dict[Path, str]:
    """Return what each page should hold."""
    configuration = CONFIGURATION.format(
        agent=agent.DEFAULT_FILE,
        management=management.DEFAULT_PATH,
        agent_keys=reference(agent.AgentSettings, agent.PREFIX),
        management_keys=reference(management.ManagementSettings, management.PREFIX),
    )
    star = {True: r" \*", False: ""}
    reasons = [f"| `{code}`{star[text.blocking]} | {text.meaning} | {text.cure} |" for code, text in REASONS.items()]
    shown = ERRORS.format(codes="\n".join(_codes(errors.ApiError)), reasons="\n".join(reasons))
    calls = "\n".join(_call(api) for api in APIS.values())
    queries = "\n".join(_query(api) for api in APIS.values() if api.queries)
    return {
        HERE / "configuration.md": NOTE + configuration.rstrip() + "\n",
        HERE / "errors.md": NOTE + shown,
        HERE / "api.md": NOTE + API.format(prefix=PREFIX, calls=calls, queries=queries),
        MONITORING / "alerts.yml": alerts.rules(),
        MONITORING / "runbook.md": alerts.runbook(),
        **{MONITORING / name: text for name, text in dashboards.written().items()},
    }


def _call(api: Api) -> str:
    paths = "<br>".join(f"{api.method} `{path}`" for path in api.paths)
    fields = {
        name: field
        for name, field in api.parameters.model_fields.items()
        if name not in {*re.findall(r"{(\w+)}", api.paths[-1]), "systemTags", "userTags"}
    }
    named = [f"**{name}**" if field.is_required() else name for name, field in fields.items()]
    answers = "query" if api.queries else "job" if api.long else "at once"
    key = f"`{api.body_key}`" if api.body_key else ""
    who = "" if api.needs_session else ", *no session*"
    return f"| {api.name} | {paths} | {key} | {'' if api.queries else ', '.join(named)} | {answers}{who} |"


def _query(api: Api) -> str:
    if api.queries is None:
        return ""
    # A query of all backup storages may name the fields of each kind.
    kinds = [kind for kind in (api.queries, *BACKUP_STORAGE_KINDS.values()) if issubclass(kind, api.queries)]
    fields = dict.fromkeys(f"`{name}`" for kind in kinds for name in kind.queryable())
    across = {name: below for kind in kinds for name, below in kind.expands.items()}
    tables = [f"`{name}.` {', '.join(below.reachable())}" for name, below in across.items()]
    return f"| {api.name} | {', '.join(fields)} | {'<br>'.join(tables)} |"


def _codes(kind: type[errors.ApiError]) -> list[str]:
    rows = []
    for error in sorted(kind.__subclasses__(), key=lambda found: (found.__name__ == "StorageProblem", found.__name__)):
        if error is not errors.StorageProblem and error.__module__ == errors.__name__:
            named = f"`{error.code}` {error.__name__}"
            rows.append(f"| {named} | {error.http_status} | {error.description}. | {error.cure or NONE} |")
            rows += _codes(error)
    return rows


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
