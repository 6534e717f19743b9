"""Every API of the contract has its action, with the same parameters and the same types."""

import functools
import json
import operator
import subprocess
import sys
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import SecretStr

from bs_agent.client import sdk
from bs_agent.client.actions.action import Action
from bs_agent.contract.api import APIS, Api


def attributes(api: Api) -> dict[str, Any]:
    """The attributes that an action has: a secret is given as text."""
    hints = get_type_hints(api.parameters)
    return {name: _plain(hints[name]) for name in api.parameters.model_fields}


def _plain(annotation: Any) -> Any:
    if annotation is SecretStr:
        return str
    inner = get_args(annotation)
    if get_origin(annotation) in {Union, UnionType}:
        return functools.reduce(operator.or_, [_plain(one) for one in inner])
    return list[_plain(inner[0])] if get_origin(annotation) is list else annotation  # type: ignore[misc]  # a value


def expected(api: Api) -> str:
    """The class that an API wants, for the message of a failure."""
    lines = [f"class {api.name}Action(Action[{api.reply.__name__}]):", f'    """{api.summary}"""', ""]
    lines.append(f'    api = APIS["{api.name}"]')
    for name, annotation in attributes(api).items():
        lines.append(f"    {name}: {annotation.__name__ if isinstance(annotation, type) else annotation}")
    return "\n".join(lines)


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_each_api_has_its_action(api: Api) -> None:
    action = getattr(sdk, f"{api.name}Action", None)
    assert action is not None, f"bs_agent/client/sdk.py lacks:\n\n{expected(api)}"
    assert action.api is api
    assert sdk.ACTIONS[api.name] is action
    assert action.__name__ in sdk.__all__
    hints = get_type_hints(action)
    for name in ("api", "hashed", "sessionId"):
        hints.pop(name)
    assert hints == attributes(api), f"it should be:\n\n{expected(api)}"
    assert _reply(action) is api.reply


def _reply(action: type[Action[Any]]) -> object:
    (base,) = action.__orig_bases__  # type: ignore[attr-defined]  # every generic class has it
    return get_args(base)[0]


def test_help_shows_every_parameter() -> None:
    for action in sdk.ACTIONS.values():
        assert action.__doc__ is not None
        for name in action.api.parameters.model_fields:
            assert f"    {name}:" in action.__doc__


def test_there_is_no_action_without_an_api() -> None:
    assert sdk.ACTIONS.keys() == APIS.keys()


def test_the_sdk_needs_nothing_but_aiohttp_and_pydantic() -> None:
    program = """
import json, sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"sqlalchemy", "asyncssh", "click", "rich", "prompt_toolkit", "alembic", "argon2",
                                      "aiosqlite", "asyncpg", "cryptography", "prometheus_client", "psutil"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
from bs_agent.client import sdk
answer = sdk.QueryBackupStorageAction().call(sdk.Client(url="http://127.0.0.1:1", patience=0))
parts = {name.split(".")[1] for name in sys.modules if name.startswith("bs_agent.")}
print(json.dumps([answer.error.code, sorted(parts)]))
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == ["sdk.1002", ["client", "contract"]]
