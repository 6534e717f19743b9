"""What a peer sends is within bounds, or spoils its own part alone."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from bs_agent.contract import push, reasons, report
from bs_agent.contract.bounds import MAX_INTEGER, MAX_STORAGES
from bs_agent.contract.reasons import Reason, ReasonCode
from bs_agent.contract.report import CephReport, Enrollment, HostReport, ImageStoreReport, StorageReport

UUID, OTHER = "0" * 32, "1" * 32
USAGE = {"totalCapacity": 9, "availableCapacity": 8, "totalInodes": 7, "availableInodes": 6, "readOnly": False}
MON = {"rank": 0, "name": "a", "addresses": [{"type": "v1", "address": "10.0.0.1:6789"}], "version": "16.2.15"}
POOL = {
    "id": 1, "name": "images", "securityPolicy": "Copy", "replicatedSize": 3, "crushRule": "r", "crushRoot": "default",
    "failureDomain": "host", "relatedOsds": [0], "usedCapacity": 1, "availableCapacity": 2, "totalCapacity": 3,
    "diskUtilization": 0.33, "poolMaxAvail": 2, "poolStored": 1,
}  # fmt: skip
CLUSTER = {
    "fsid": "d53902bc-ff50-4d08-8769-9d83448478d3", "totalCapacity": 9, "availableCapacity": 8, "health": "HEALTH_OK",
    "checks": [], "mgrActive": True, "vendor": "open-source",
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5) | st.just("\0"),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=10,
)


def section(value: Any, **more: Any) -> dict[str, Any]:
    return {"value": value, "collectedAt": 1.0, "ageSeconds": 2.0, "durationSeconds": 0.1, "stale": False} | more


def image_store(uuid: str = UUID) -> dict[str, Any]:
    usage, service = section(dict(USAGE)), section({"address": "10.0.0.1:8000"})
    return {"type": "ImageStoreBackupStorage", "uuid": uuid, "url": "/images", "usage": usage, "service": service}


def ceph(uuid: str = OTHER) -> dict[str, Any]:
    mon = MON | {"inQuorum": True, "leader": True}
    sections = {"cluster": dict(CLUSTER), "pools": [dict(POOL)], "mons": [mon], "localMon": MON | {"state": "leader"}}
    read: dict[str, Any] = {name: section(value) for name, value in sections.items()}
    told = {"type": "Ceph", "uuid": uuid, "poolName": "images", **read, "writeProbe": section(0.1)}
    copied: dict[str, Any] = json.loads(json.dumps(told))
    return copied


def host(*storages: Any) -> dict[str, Any]:
    return {"agentVersion": "1", "hostname": "h", "startedAt": 1.0, "storages": list(storages)}


def decoded(told: Any) -> HostReport:
    return HostReport.model_validate_json(json.dumps(told))


def put(into: Any, path: str, value: Any) -> None:
    *way, last = path.split(".")
    for step in way:
        into = into[int(step) if step.isdigit() else step]
    into[int(last) if last.isdigit() else last] = value


def places(of: Any, before: str = "") -> Iterator[str]:
    """Name every place of a JSON value below its root."""
    pairs = of.items() if isinstance(of, dict) else enumerate(of) if isinstance(of, list) else ()
    for key, value in pairs:
        yield f"{before}{key}"
        yield from places(value, f"{before}{key}.")


def test_what_is_within_bounds_is_taken_as_it_is() -> None:
    taken = decoded(host(image_store(), ceph()))
    assert [storage.reasons() for storage in taken.storages] == [[], []]
    shown = json.loads(taken.model_dump_json(exclude_unset=True))
    assert shown == json.loads(json.dumps(host(image_store(), ceph())))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        *[(f"usage.value.{name}", value) for name in USAGE for value in (-1, MAX_INTEGER + 1, 1e300, "x", None)],
        ("usage.ageSeconds", -0.5),
        ("usage.ageSeconds", float("nan")),
        ("usage.ageSeconds", float("inf")),
        ("usage.collectedAt", 1e30),
        ("usage.durationSeconds", 10**400),
        ("usage.value", [1]),
        ("usage", "well"),
        ("usage", None),
    ],
)
def test_a_section_out_of_bounds_has_its_own_reason(at: str, value: Any) -> None:
    told = image_store()
    put(told, at, value)
    spoilt, other = decoded(host(told, ceph())).storages
    assert isinstance(spoilt, ImageStoreReport)
    assert (spoilt.usage.value, spoilt.usage.stale) == (None, True)
    assert spoilt.usage.reason is not None
    assert spoilt.usage.reason.code == ReasonCode.REPORT_INVALID
    assert spoilt.usage.reason.details.startswith("usage.")
    assert spoilt.service is not None
    assert spoilt.service.value is not None, "the other section goes on"
    assert other == decoded(host(ceph())).storages[0]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        *[(f"cluster.value.{name}", -1) for name in ("totalCapacity", "availableCapacity")],
        ("cluster.value.fsid", "f" * 37),
        ("cluster.value.checks", [{"code": "a", "severity": "b", "summary": "c"}] * 1001),
        *[(f"pools.value.0.{name}", -1) for name in ("id", "replicatedSize", "usedCapacity", "poolMaxAvail", "k")],
        *[(f"pools.value.0.{name}", MAX_INTEGER + 1) for name in ("availableCapacity", "totalCapacity", "quotaBytes")],
        *[("pools.value.0.diskUtilization", value) for value in (-0.1, 1.5, float("nan"), float("inf"))],
        ("pools.value.0.relatedOsds", [2**70]),
        ("pools.value.0.name", "x" * 256),
        ("pools.value", [POOL] * 10_001),
        ("mons.value.0.rank", -2),
        ("mons.value.0.addresses", [MON["addresses"]] * 101),
        ("localMon.value.addresses.0.address", "x" * 256),
        ("writeProbe.value", float("inf")),
    ],
)
def test_a_section_of_ceph_out_of_bounds_leaves_the_others(at: str, value: Any) -> None:
    told, name = ceph(), at.partition(".")[0]
    put(told, at, value)
    spoilt = decoded(host(told)).storages[0]
    assert [reason.code for reason in spoilt.reasons()] == [ReasonCode.REPORT_INVALID]
    assert spoilt.reasons()[0].details.startswith(f"{name}.value")
    assert {key for key in told if isinstance(told[key], dict) and getattr(spoilt, key).value is None} == {name}


def test_what_makes_a_storage_unusable_is_said_though_the_value_is_out_of_bounds() -> None:
    told = image_store()
    told["usage"] = section({"totalCapacity": -1}, reason={"code": "MarkerMissing", "details": "gone"})
    (reason,) = decoded(host(told)).storages[0].reasons()
    assert reason == Reason(code=ReasonCode.MARKER_MISSING, details="gone")


@pytest.mark.parametrize(
    ("at", "value"),
    [("url", "x" * 4097), ("url", 5), ("type", "Nfs"), ("type", [])],
    ids=["long", "number", "kind", "list"],
)
def test_an_entry_that_is_not_of_the_protocol_has_its_own_reason(at: str, value: Any) -> None:
    told = image_store()
    put(told, at, value)
    spoilt, other = decoded(host(told, ceph())).storages
    assert (spoilt.uuid, [reason.code for reason in spoilt.reasons()]) == (UUID, [ReasonCode.AGENT_FAULT])
    assert at in spoilt.reasons()[0].details
    assert other.reasons() == []


@pytest.mark.parametrize("entry", [None, 1, "x", [], {}, {"uuid": "A" * 32}, {"uuid": 5}, {"uuid": "\0" * 32}])
def test_an_entry_that_names_no_storage_is_about_none(entry: Any) -> None:
    assert [storage.uuid for storage in decoded(host(entry, ceph())).storages] == [OTHER]


def test_an_endless_list_of_storages_is_refused() -> None:
    assert len(decoded(host(*[image_store()] * MAX_STORAGES)).storages) == MAX_STORAGES
    with pytest.raises(ValidationError, match="at most 1000 items"):
        decoded(host(*[image_store()] * (MAX_STORAGES + 1)))


def test_long_texts_that_are_only_shown_are_cut() -> None:
    told = ceph()
    put(told, "mons.reason", {"code": "CephFault", "details": "y" * 10_000})
    put(told, "mons.value.0.version", "z" * 10_000)
    taken = decoded(host(told) | {"hostname": "h" * 10_000}).storages[0]
    assert isinstance(taken, CephReport)
    assert taken.mons.value is not None
    assert taken.mons.reason is not None
    assert (len(taken.mons.reason.details), len(taken.mons.value[0].version)) == (2000, 255)
    again = Reason.model_validate(taken.mons.reason.model_dump())
    assert again == taken.mons.reason, "what was cut is not cut again when it is read from the database"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_no_database_takes_is_replaced(text: str) -> None:
    assert Reason(code=ReasonCode.CEPH_FAULT, details=text).details == "a\ufffdb"
    told = image_store() | {"url": text}
    assert HostReport.model_validate(host(told)).storages[0].model_dump()["url"] == "a\ufffdb"


def test_a_text_that_is_shown_is_one_line() -> None:
    reason = Reason(code=ReasonCode.CEPH_FAULT, details="a\r\nINFO all is well\x1b[2J\u2028b\x85")
    assert reason.details == "a INFO all is well [2J b "
    assert Reason.model_validate(reason.model_dump()) == reason


def test_a_reason_that_only_a_newer_agent_knows_is_a_fault() -> None:
    told = image_store()
    put(told, "usage.reason", {"code": "MarkerRotten", "details": "seen"})
    (reason,) = decoded(host(told, ceph())).storages[0].reasons()
    assert reason == Reason(code=ReasonCode.AGENT_FAULT, details="MarkerRotten: seen")


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 0), ("port", 65536), ("token", "short"), ("token", "x" * 257), ("fingerprint", "f" * 65), ("id", "x")],
)
def test_an_enrolment_has_bounds(name: str, value: Any) -> None:
    good = {"id": UUID, "port": 7765, "token": "t" * 43, "fingerprint": "f" * 64, "code": "c" * 100}
    assert Enrollment.model_validate(good).port == 7765
    with pytest.raises(ValidationError, match=name):
        Enrollment.model_validate(good | {name: value})


@given(st.data())
def test_whatever_stands_in_one_storage_the_other_is_as_it_was(data: st.DataObject) -> None:
    told, well = data.draw(st.sampled_from([(image_store(), ceph()), (ceph(UUID), image_store(OTHER))]))
    put(told, data.draw(st.sampled_from(list(places(told)))), data.draw(JSON))
    taken = HostReport.model_validate(host(told, well)).storages
    assert taken[-1] == decoded(host(well)).storages[0]
    assert len(taken) == 2 or told["uuid"] != UUID
    for storage in taken:
        assert "\0" not in storage.model_dump_json()
        assert all(0 <= number <= MAX_INTEGER for number in numbers(storage.model_dump(exclude={"mons", "localMon"})))


@given(JSON | st.dictionaries(st.sampled_from(list(host())), JSON) | JSON.map(host))
def test_any_json_is_a_report_or_is_refused(told: Any) -> None:
    for adapter in (TypeAdapter(HostReport), TypeAdapter[StorageReport](StorageReport)):
        try:
            taken = adapter.validate_python(told)
        except ValidationError:
            continue
        assert isinstance(taken, HostReport)
        assert taken.storages == []


def numbers(of: Any) -> Iterator[float]:
    if isinstance(of, int | float):
        yield of
    elif isinstance(of, dict):
        yield from chain.from_iterable(map(numbers, of.values()))
    elif isinstance(of, list):
        yield from chain.from_iterable(map(numbers, of))


MODELS = [
    model
    for module in (report, reasons, push)
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_value_of_the_protocol_has_its_bounds(model: type[BaseModel]) -> None:
    assert list(unbounded(model.model_json_schema(), model.__name__)) == []


def unbounded(schema: Any, where: str) -> Iterator[str]:
    """Name the numbers, texts and lists of a schema that have no bounds."""
    if not isinstance(schema, dict):
        return
    wanted = {
        "integer": {"minimum", "maximum"}, "number": {"minimum", "maximum"}, "array": {"maxItems"},
    }.get(schema.get("type", ""), set())  # fmt: skip
    ends = {"maxLength", "pattern", "enum", "const"} & schema.keys()
    if not wanted <= schema.keys() or (schema.get("type") == "string" and not ends):
        yield where
    for name in ("properties", "$defs"):
        for key, below in schema.get(name, {}).items():
            yield from unbounded(below, f"{where}.{key}")
    for key in ("items", "anyOf", "oneOf"):
        below = schema.get(key, [])
        for one in below if isinstance(below, list) else [below]:
            yield from unbounded(one, f"{where}.{key}")
