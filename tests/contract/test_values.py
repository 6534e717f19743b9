"""Dates, reasons, errors and reports as they cross the network."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bs_agent.contract.api import APIS, AddImageStoreParameters
from bs_agent.contract.dates import format_date, parse_date
from bs_agent.contract.errors import ApiError, CannotDelete, StorageProblem
from bs_agent.contract.push import ConnectRequest
from bs_agent.contract.reasons import REASONS, Reason, ReasonCode
from bs_agent.contract.report import (
    CephParameters,
    CleanupRequest,
    DirectoryUsage,
    HostReport,
    ImageStoreReport,
    Section,
    blocking_reason,
)

UUID = "0123456789abcdef0123456789abcdef"


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_date_survives_being_shown(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    assert parse_date(format_date(moment)) == moment


@pytest.mark.parametrize(
    "text", ["Apr 11, 2018 2:50:54 PM", "april 11, 2018 2:50:54 pm", "Apr 11, 2018, 2:50:54 PM", "2018-04-11 14:50:54"]
)
def test_the_forms_of_a_date(text: str) -> None:
    assert format_date(parse_date(text)) == "Apr 11, 2018 2:50:54 PM"


def test_midnight_and_noon() -> None:
    assert parse_date("Apr 11, 2018 12:00:00 AM").astimezone().hour == 0
    assert parse_date("Apr 11, 2018 12:00:00 PM").astimezone().hour == 12


@pytest.mark.parametrize("text", ["", "Foo 11, 2018 2:50:54 PM", "Apr 11, 2018 14:50:54 PM", "Apr 31, 2018 2:50:54 PM"])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_date(text)


def test_every_reason_says_what_it_means_and_what_cures_it() -> None:
    assert set(REASONS) == set(ReasonCode)
    assert all(text.meaning.endswith((".", "?")) and text.cure.endswith(".") for text in REASONS.values())


def test_an_error_shows_its_cause() -> None:
    error = CannotDelete("host h1 refused", cause=StorageProblem.of(ReasonCode.NO_ROUTE, "h1: no route"))
    assert error.shown().model_dump(exclude_none=True) == {
        "code": "SYS.1004",
        "description": "Unable to delete the resource",
        "details": "host h1 refused",
        "cause": {
            "code": "BS.NoRoute",
            "description": "The host, or its SSH port, cannot be reached over the network.",
            "details": "h1: no route",
        },
    }


def test_every_error_of_the_tree_has_a_code_and_a_status() -> None:
    pending = [ApiError]
    while pending:
        kind = pending.pop()
        pending += [below for below in kind.__subclasses__() if below.__module__ == ApiError.__module__]
        assert kind.__doc__
        if kind is not ApiError and not issubclass(kind, StorageProblem):
            assert kind.code
            assert kind.description
            assert kind.http_status >= 400


def _report(available: int, age: float, reason: Reason | None = None) -> HostReport:
    usage = DirectoryUsage(
        totalCapacity=10, availableCapacity=available, totalInodes=5, availableInodes=4, readOnly=False
    )
    section = Section[DirectoryUsage](value=usage, collectedAt=age, ageSeconds=age, durationSeconds=age, reason=reason)
    storage = ImageStoreReport(uuid=UUID, url="/images", usage=section)
    return HostReport(agentVersion="0.1.0", hostname="h1", startedAt=1.0, storages=[storage])


def test_an_etag_names_the_content_and_not_its_age() -> None:
    assert _report(5, 1.0).etag() == _report(5, 2.0).etag()
    assert _report(5, 1.0).etag() != _report(6, 1.0).etag()


@pytest.mark.parametrize(
    "identity", [{"bootId": "6fa8b9b4-0dc1-4f0f-8f2e-0c9d3b1c5a11"}, {"nextFingerprint": "0" * 64}]
)
def test_who_the_agent_is_belongs_to_the_content(identity: dict[str, str]) -> None:
    report = _report(5, 1.0)
    assert HostReport.model_validate(report.model_dump() | identity).etag() != report.etag()


@pytest.mark.parametrize(
    "identity",
    [
        {"bootId": "6FA8B9B4-0DC1-4F0F-8F2E-0C9D3B1C5A11"},
        {"bootId": "6fa8b9b40dc14f0f8f2e0c9d3b1c5a11"},
        {"bootId": "6fa8b9b4-0dc1-4f0f-8f2e-0c9d3b1c5a11\n"},
        {"nextFingerprint": "0" * 63},
        {"nextFingerprint": "A" * 64},
        {"nextFingerprint": "0" * 64 + "\n"},
    ],
)
def test_who_the_agent_is_has_one_form(identity: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        HostReport.model_validate(_report(5, 1.0).model_dump() | identity)


@pytest.mark.parametrize("number", [-1, 2**63, 1.0, True, "1", None])
def test_the_number_of_an_operation_is_a_count_that_every_database_holds(number: object) -> None:
    for kind, body in ((CleanupRequest, {"commandUuid": UUID}), (ConnectRequest, {})):
        with pytest.raises(ValidationError, match="number"):
            kind.model_validate({**body, "number": number})
        assert kind.model_validate({**body, "number": 2**63 - 1})
        assert kind.model_validate(body).number == 0


def test_a_report_survives_the_wire() -> None:
    report = _report(5, 1.0, Reason(code=ReasonCode.READ_ONLY, details="mounted ro"))
    assert HostReport.model_validate_json(report.model_dump_json(exclude_none=True)) == report


def test_only_a_blocking_reason_makes_a_storage_unusable() -> None:
    read_only = Reason(code=ReasonCode.READ_ONLY, details="ro")
    missing = Reason(code=ReasonCode.MARKER_MISSING, details="gone")
    assert blocking_reason([read_only]) is None
    assert blocking_reason([read_only, missing]) == missing


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_a_port_has_a_range(port: int) -> None:
    with pytest.raises(ValueError, match="sshPort"):
        AddImageStoreParameters.model_validate({"name": "a", "hostname": "h", "url": "/images", "sshPort": port})


@pytest.mark.parametrize("url", ["images", "", "/", "//", "/.", "/a\0b"])
def test_a_directory_is_absolute_and_not_the_root(url: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        AddImageStoreParameters.model_validate({"name": "a", "hostname": "h", "url": url})


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b", "a;b", "h/../x", "h\n"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    with pytest.raises(ValueError, match="must be a host name"):
        AddImageStoreParameters.model_validate({"name": "a", "hostname": host, "url": "/images"})


def test_each_api_is_declared_consistently() -> None:
    for name, api in APIS.items():
        assert api.name == name
        assert api.method in ("POST", "PUT") or not api.body_key
        if not api.queries:
            assert set(api.path_variables) <= set(api.parameters.model_fields)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", True),
        ("mon-1.example.com", True),
        ("mon_1:6789", True),
        ("192.0.2.1:1", True),
        ("[2001:db8::1]:65535", True),
        ("[fe80::1%eth0]:6789", True),
        ("2001:db8::1", True),
        ("192.0.2.1:0", False),
        ("192.0.2.1:65536", False),
        ("192.0.2.1:06789", False),
        ("192.0.2.1:x", False),
        ("192.0.2.1:", False),
        ("[2001:db8::1]6789", False),
        ("mon 1", False),
        ("mon\n", False),
        ("x" * 301, False),
    ],
)
def test_where_a_mon_is_has_one_form(text: str, allowed: bool) -> None:
    for field in ("monAddress", "hostAddress"):
        given = {"poolName": "images", field: text}
        if allowed:
            assert CephParameters.model_validate(given).model_dump()[field] == text
        else:
            with pytest.raises(ValidationError, match=field):
                CephParameters.model_validate(given)
