"""What Tab offers, word by word; and that every offer is a word that the command line takes."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.client.cli.arguments import parse_words
from bs_agent.client.cli.catalog import named_by
from bs_agent.client.cli.commands import VERBS
from bs_agent.client.cli.prompt.completion import (
    ACROSS,
    FIELDS,
    OPERATORS,
    PARAMETERS,
    Completion,
    Offer,
    complete,
)
from bs_agent.client.cli.prompt.lexing import OWN_SPECIALS, SHELL_SPECIALS, escape, split
from bs_agent.client.cli.prompt.listing import grouped
from bs_agent.contract.api import APIS, Api
from bs_agent.management.store.fields import RESOURCES


def nothing(api: Api, field: str, typed: str) -> Sequence[tuple[str, str]]:
    return []


def existing(api: Api, field: str, typed: str) -> Sequence[tuple[str, str]]:
    known = {
        "uuid": [("1ab3", "my store"), ("eed4", "ceph")],
        "name": [("my store", ""), ("ceph", "")],
        "tag": [(api.name, "")],
        "mons.hostname": [("mon-1", "")],
    }
    return known.get(field, [])


def labels(line: str, *, anywhere: bool = False) -> list[str]:
    found = split(line)
    return [offer.label for offer in complete(found.words, found.current, existing, anywhere=anywhere).offers]


def words(line: str) -> list[str]:
    found = split(line)
    completion = complete(found.words, found.current, existing)
    return [completion.stem + offer.label for offer in completion.offers]


def test_tab_behind_a_query_shows_the_fields_and_the_tables_across() -> None:
    offers = complete(["QueryBackupStorage"], "", nothing).offers
    by_group: dict[str, list[str]] = {}
    for offer in offers:
        by_group.setdefault(offer.group, []).append(offer.label)
    assert list(by_group) == [ACROSS, FIELDS, PARAMETERS]
    assert by_group[ACROSS] == ["mons.", "zone."]
    assert {"uuid=", "name=", "status=", "fsid=", "hostname=", "attachedZoneUuids="} <= set(by_group[FIELDS])
    assert {"limit=", "fields=", "sortBy=", "count="} <= set(by_group[PARAMETERS])
    assert "conditions=" not in by_group[PARAMETERS]


@pytest.mark.parametrize("api", [api for api in APIS.values() if api.queries], ids=lambda api: api.name)
def test_the_offered_fields_are_those_that_the_management_node_can_query(api: Api) -> None:
    assert api.queries is not None
    offers = complete([api.name], "", nothing).offers
    offered = sorted(offer.label.rstrip("=") for offer in offers if offer.group in {ACROSS, FIELDS})
    assert offered == RESOURCES[api.queries].queryable


def test_one_level_deeper_behind_a_table() -> None:
    assert words("QueryBackupStorage zone.na") == ["zone.name="]
    assert "mons.status=" in words("QueryBackupStorage mons.")
    assert words("QueryBackupStorage mons.status=D") == ["mons.status=Disconnected"]
    assert words("QueryBackupStorage pool.") == []
    assert words("QueryBackupStorage zone.nam.") == []


def test_verbs_and_what_follows_them() -> None:
    assert labels("stora") == ["storages"]
    assert labels("storages rec") == ["reconnect"]
    assert labels("storages d") == ["delete", "description="]
    assert labels("storages delete ") == ["my store", "ceph"]
    assert labels("storages delete c") == ["ceph"]
    assert labels("storages delete ceph de") == ["deleteMode="]
    assert words("storages delete ceph deleteMode=E") == ["deleteMode=Enforcing"]
    assert "uuid=" not in labels("storages reconnect ceph ")
    assert words("storages status=Conn") == ["status=Connecting", "status=Connected"]
    assert words("mons mons.status=D") == ["mons.status=Disconnected"]
    assert labels("jobs apiN") == ["apiName="]
    assert labels("health ") == []


def test_commands_in_any_case_and_anywhere() -> None:
    assert set(labels("query")) == {name for name in APIS if name.startswith("Query")}
    assert labels("storage") == ["storages"]
    assert labels("backup") == []
    assert "ReconnectBackupStorage" in labels("backupstorage", anywhere=True)
    assert labels("Unknown ") == []
    assert labels("completion ") == ["bash", "zsh", "fish"]
    assert set(labels("")) == {*APIS, "completion", *(verb.partition(" ")[0] for verb in VERBS)}


def test_operators_behind_a_field_that_is_written_out() -> None:
    assert [one.group for one in complete(["QueryBackupStorage"], "status", nothing).offers] == [OPERATORS] * 6
    assert labels("QueryBackupStorage status!") == ["status!=", "status!~=", "status!?="]
    assert "availableCapacity>=" in labels("QueryBackupStorage availableCapacity")
    assert labels("QueryBackupStorage capacityStale") == ["capacityStale=", "capacityStale!="]
    assert words("QueryBackupStorage zone.isDefault") == ["zone.isDefault=", "zone.isDefault!="]


def test_values_that_are_known_and_values_that_exist() -> None:
    assert labels("QueryBackupStorage status=") == ["Connecting", "Connected", "Disconnected"]
    assert labels("QueryBackupStorage capacityStale=t") == ["true"]
    assert labels("QueryBackupStorage name=my") == ["my store"]
    assert words("QueryBackupStorage uuid?=1ab3,") == ["uuid?=1ab3,eed4"]
    assert words("QueryBackupStorage status?=Connected,D") == ["status?=Connected,Disconnected"]
    assert "null" in labels("QueryBackupStorage description=")
    assert labels("QueryBackupStorage availableCapacity=") == []
    assert labels("QueryBackupStorage __userTag__=") == ["QueryUserTag"]
    assert labels("QueryBackupStorage __systemTag__=") == ["QuerySystemTag"]
    assert labels("QueryBackupStorage mons.hostname=") == ["mon-1"]
    assert labels("DeleteBackupStorage deleteMode=p") == ["Permissive"]
    assert labels("DeleteBackupStorage uuid=") == ["1ab3", "eed4"]
    assert labels("LogInByAccount password=") == ["-", "@"]
    assert labels("LogOut sessionUuid=") == []


def test_parameters_that_name_fields() -> None:
    assert words("QueryBackupStorage fields=name,uu") == ["fields=name,uuid,"]
    assert "name," not in labels("QueryBackupStorage fields=name,")
    assert words("QueryBackupStorage sortBy=stat") == ["sortBy=state", "sortBy=status"]
    assert words("QueryBackupStorage groupBy=attached") == []
    assert words("QueryBackupStorage sortDirection=") == ["sortDirection=asc", "sortDirection=desc"]


def test_what_is_given_is_not_offered_again() -> None:
    assert "uuid=" not in labels("DeleteBackupStorage uuid=x ")
    assert "systemTags=" in labels("DeleteBackupStorage systemTags=x ")


@pytest.mark.parametrize(
    ("command", "parameter", "found"),
    [
        ("ReconnectBackupStorage", "uuid", ["QueryBackupStorage uuid"]),
        ("ReconnectImageStoreBackupStorage", "uuid", ["QueryImageStoreBackupStorage uuid"]),
        ("RemoveMonFromCephBackupStorage", "uuid", ["QueryCephBackupStorage uuid"]),
        ("RemoveMonFromCephBackupStorage", "monHostnames", ["QueryCephBackupStorage mons.hostname"]),
        ("UpdateCephBackupStorageMon", "monUuid", ["QueryCephBackupStorage mons.monUuid"]),
        ("AddMonToCephBackupStorage", "monUrls", []),
        ("AttachBackupStorageToZone", "zoneUuid", ["QueryZone uuid"]),
        ("AttachBackupStorageToZone", "backupStorageUuid", ["QueryBackupStorage uuid"]),
        ("GetBackupStorageCapacity", "backupStorageUuids", ["QueryBackupStorage uuid"]),
        ("DeleteTag", "uuid", ["QuerySystemTag uuid", "QueryUserTag uuid"]),
        ("RevokeSession", "uuid", ["QuerySession uuid"]),
        ("UpdateAccount", "uuid", ["QueryAccount uuid"]),
        ("LogOut", "sessionUuid", []),
        ("AddImageStoreBackupStorage", "resourceUuid", []),
        ("CreateUserTag", "resourceUuid", []),
    ],
)
def test_whose_uuids_a_parameter_takes(command: str, parameter: str, found: list[str]) -> None:
    assert [f"{api.name} {field}" for api, field in named_by(APIS[command], parameter)] == found


def test_the_uuid_of_a_tagged_resource_is_of_the_type_given_beside_it() -> None:
    (source,) = named_by(APIS["CreateUserTag"], "resourceUuid", {"resourceType": "ZoneVO"})
    assert source == (APIS["QueryZone"], "uuid")


@given(st.sampled_from(list(APIS.values())), st.text("abcdefghijklmnopqrstuvwxyzUTN._=!?~<>,", max_size=12))
def test_every_offer_continues_what_is_typed(api: Api, typed: str) -> None:
    completion = complete([api.name], typed, existing)
    for offer in completion.offers:
        word = completion.stem + offer.label
        assert word.casefold().startswith(typed.casefold())
        if offer.ends:
            assert parse_words(api, [word], str)


def test_what_all_offers_have_in_common() -> None:
    assert complete(["QueryBackupStorage"], "stat", nothing).common() == ("stat", False)
    assert complete(["QueryBackupStorage"], "status=conn", nothing).common() == ("status=Connect", False)
    assert complete(["QueryBackupStorage"], "status=d", nothing).common() == ("status=Disconnected", True)
    assert complete(["QueryBackupStorage"], "nothing", nothing).common() == ("", False)
    assert Completion("a.", [Offer("b", FIELDS)]).common() == ("a.b", False)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12), min_size=1))
def test_escaped_words_are_split_as_they_were(given_words: list[str]) -> None:
    for specials in (OWN_SPECIALS, SHELL_SPECIALS):
        if any(one.isspace() and one not in specials for word in given_words for one in word):
            continue
        line = split(" ".join(escape(word, specials) for word in given_words))
        assert [*line.words, line.current] == given_words
        assert not line.quoted


def test_quotes_may_be_open() -> None:
    line = split("Query name='my st")
    assert (line.words, line.current, line.start, line.quoted) == (["Query"], "name=my st", 6, True)
    assert split('a "b \\" \\n" ').words == ["a", 'b " \\n']
    assert split("").start == 0
    assert split("a ").start == 2


def test_offers_are_listed_in_groups_and_columns() -> None:
    offers = [Offer(f"field{number}=", FIELDS) for number in range(10)]
    lines = grouped([Offer("zone.", ACROSS), *offers], 40)
    assert [text for style, text in lines if style == "bold"] == ["Across tables:", "Fields:"]
    assert "  field0=  field3=  field6=  field9=" in [text for _, text in lines]
    assert all(len(text) < 40 for _, text in lines)
    noted = grouped([Offer("1ab3", "Values", "my\x1b[31m store", ends=True)], 80)
    assert noted[1] == ("", "  1ab3  my\N{REPLACEMENT CHARACTER}[31m store")
    assert grouped([Offer(str(number), FIELDS) for number in range(500)], 80)[-1][1].startswith("  and 380 more")
