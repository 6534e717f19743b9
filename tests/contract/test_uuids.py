"""Uuids have one form, whichever parameter of whichever call brings them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.contract.api import APIS
from bs_agent.contract.calls_zone import CreateZoneParameters
from bs_agent.contract.declaration import Parameters
from bs_agent.contract.uuids import one_form

UUID = "1ab3b836a88342e1bbc1b1a17d092f0f"
FORMS = [
    UUID,
    UUID.upper(),
    "1Ab3B836a88342e1bbc1b1a17d092F0f",
    "1ab3b836-a883-42e1-bbc1-b1a17d092f0f",
    "1AB3B836-A883-42E1-BBC1-B1A17D092F0F",
    f"  {UUID.upper()}\n",
]
OTHER = [
    "",
    "types",
    UUID[:-1],
    f"{UUID}0",
    UUID.replace("a", "g"),
    UUID[:16] + "-" + UUID[16:],
    UUID.replace("8", "\uff18"),
]

NAMED = sorted(
    {
        (api.parameters, name)
        for api in APIS.values()
        for name in api.parameters.model_fields
        if name.lower().removesuffix("s").endswith("uuid")
    },
    key=lambda one: (one[0].__name__, one[1]),
)


@pytest.mark.parametrize("text", FORMS)
def test_a_uuid_is_brought_into_its_one_form(text: str) -> None:
    assert one_form(text) == UUID


@pytest.mark.parametrize("text", OTHER)
def test_a_text_that_is_no_uuid_stays_as_it_is(text: str) -> None:
    assert one_form(text) == text


@given(st.text())
def test_bringing_it_twice_changes_nothing(text: str) -> None:
    assert one_form(one_form(text)) == one_form(text)


@pytest.mark.parametrize("text", FORMS)
@pytest.mark.parametrize(("parameters", "name"), NAMED, ids=[f"{model.__name__}.{name}" for model, name in NAMED])
def test_every_parameter_that_takes_a_uuid_takes_each_form(parameters: type[Parameters], name: str, text: str) -> None:
    several = name.endswith("s")
    checked = parameters.__pydantic_validator__.validate_assignment(
        parameters.model_construct(), name, [text, UUID] if several else text
    )
    assert getattr(checked, name) == ([UUID, UUID] if several else UUID)


@pytest.mark.parametrize("text", OTHER)
def test_a_new_resource_gets_a_uuid_or_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"resourceUuid\n.*must be a uuid: 32 hexadecimal digits"):
        CreateZoneParameters.model_validate({"name": "z", "resourceUuid": text})
