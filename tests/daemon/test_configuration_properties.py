"""Whatever stands in a configuration file or in the environment: settings, or every fault in a line of its own."""

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bs_agent.agent.config import AgentSettings
from bs_agent.daemon.configuration import LONGEST_FAULT, ConfigError, Settings, load, parse_address
from bs_agent.management.config import ManagementSettings
from tests.odd_values import JSON, LINES, NUMBERS, TEXTS, spoilt

MODELS: list[type[Settings]] = [AgentSettings, ManagementSettings]
PREFIX = "BS_TEST"


@functools.cache
def _well(model: type[Settings]) -> dict[str, Any]:
    """The defaults, as they stand in a file."""
    found = {
        section: {key: value for key, value in keys.items() if value is not None}
        for section, keys in model().model_dump(mode="json").items()
    }
    assert load(model, None, {}, PREFIX, found) == model()
    return found


def _toml(value: Any) -> str:
    """Write a value in a line of TOML, as far as it has such."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False) if value is not None else '"null"'


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Load a file of these bytes, with this environment."""
    path = tmp_path_factory.mktemp("configuration") / "a.toml"

    def check(model: type[Settings], content: bytes, environment: dict[str, str] | None = None) -> None:
        path.write_bytes(content)
        try:
            found = load(model, path, environment or {}, PREFIX)
        except ConfigError as error:
            faults = error.faults
        else:
            # What is taken is taken again.
            assert model.model_validate(found.model_dump()) == found
            return
        assert faults
        for fault in faults:
            assert fault.startswith((f"{path}: ", "environment: "))
            assert len(fault.splitlines()) == 1, fault
            assert len(fault) <= LONGEST_FAULT

    return check


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=60, deadline=None)
@given(content=LINES | TEXTS.map(lambda text: text.encode(errors="replace")))
@example(content=b"a = " + b"[" * 100_000)
@example(content=b"server = 3")
@example(content=b"[server]\nlisten = 07:00:00")
@example(content=b"[[server]]")
@example(content=b"a\nb")
@example(content=b'server = "x\x0b"')
@example(content=b"x = " + b"9" * 5000)
def test_a_file_of_any_bytes(check: Callable[..., None], model: type[Settings], content: bytes) -> None:
    check(model, content)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_with_values_that_nobody_expects(
    check: Callable[..., None], model: type[Settings], data: st.DataObject
) -> None:
    found = data.draw(spoilt(_well(model)))
    if isinstance(found, dict):
        lines = [f"{json.dumps(key, ensure_ascii=False)} = {_toml(value)}" for key, value in found.items()]
        check(model, "\n".join(lines).encode(errors="replace"))


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_an_environment_that_nobody_expects(
    check: Callable[..., None], model: type[Settings], data: st.DataObject
) -> None:
    known = [f"{PREFIX}_{section}_{key}".upper() for section, keys in _well(model).items() for key in keys]
    names = st.sampled_from(known) | TEXTS.map(lambda text: f"{PREFIX}_{text[:50]}")
    values = TEXTS | NUMBERS.map(str) | JSON.map(json.dumps)
    environment = data.draw(st.dictionaries(names, values, max_size=4))
    check(model, b"", environment)


@given(TEXTS | JSON)
@example("[::1]:80")
@example(":80")
@example("a:²")
def test_an_address_is_one_or_refused(text: object) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert 0 <= address.port <= 65535
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("model", "section", "key"),
    [
        (AgentSettings, "state", "directory"),
        (AgentSettings, "probe", "python"),
        (AgentSettings, "probe", "boot_id"),
        (AgentSettings, "ceph", "conf"),
        (AgentSettings, "ceph", "run_dir"),
        (ManagementSettings, "state", "directory"),
        (ManagementSettings, "server", "tls_certificate"),
        (ManagementSettings, "server", "tls_key"),
    ],
)
def test_a_path_that_no_file_can_have_is_refused(model: type[Settings], section: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{section}.{key}: must not hold the character NUL"):
        load(model, None, {}, PREFIX, {section: {key: "/a\0b"}})
