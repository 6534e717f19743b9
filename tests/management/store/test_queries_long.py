"""Texts that are longer than what their index holds of them, and patterns whose beginning has no next text."""

import re
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import insert

from bs_agent.contract.inventory import BackupStorageInventory, UserTagInventory
from bs_agent.contract.query import Query, parse_condition
from bs_agent.contract.report import IMAGESTORE
from bs_agent.management.store.columns import KEY_OF_LONG
from bs_agent.management.store.database import Database
from bs_agent.management.store.queries import find
from bs_agent.management.store.tables import backup_storage, resource, tag

pytestmark = pytest.mark.asyncio

LAST = chr(0x10FFFF)
BEGIN = "B" * KEY_OF_LONG
# No two of them alike, and no compression makes an index's entry of them.
RANDOM = "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(2000))
TEXTS = [
    BEGIN, BEGIN[:-1], f"{BEGIN}x", f"{BEGIN}X", f"{BEGIN}y", f"{BEGIN.lower()}x", f"{BEGIN}_", f"{BEGIN}%", RANDOM,
    f"{RANDOM[:-1]}!", "a", "a\ud7ffb", "a\ue000", "a\ud7ff", f"a{LAST}", f"a{LAST}b", f"{LAST}{LAST}z", LAST, "b",
    "ab", "zaß", "ZAß", "a_b", "a%b",
]  # fmt: skip
VALUES = [text for text in TEXTS if "," not in text]
PATTERNS = [
    f"{BEGIN}%", f"{BEGIN}x", f"{BEGIN}_", f"{BEGIN[:-1]}%", f"{RANDOM}%", f"{RANDOM[:-1]}_", "a%",
    "a\ud7ff%", f"a{LAST}%", f"{LAST}%", f"{LAST}{LAST}%", "A_b", "a", "zaß%", "%", "_", "%x", "b%",
]  # fmt: skip


def lower(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def fits(text: str, pattern: str) -> bool:
    parts = {"%": ".*", "_": "."}
    return bool(re.fullmatch("".join(parts.get(one, re.escape(one)) for one in lower(pattern)), lower(text), re.DOTALL))


@pytest_asyncio.fixture
async def filled(database: Database) -> dict[str, str]:
    """Have a storage for each text, which is its url, its description and its user tag; return the texts by uuid."""
    texts = {f"{number:032x}": text for number, text in enumerate(TEXTS, 1)}
    fixed: dict[str, Any] = {"type": IMAGESTORE, "state": "Enabled", "status": "Connected", "capacityStale": False}
    fixed |= {"totalCapacity": 0, "availableCapacity": 0, "createDate": 1, "lastOpDate": 1}
    tagged = {"type": "User", "resourceType": "BackupStorageVO", "createDate": 1, "lastOpDate": 1}
    async with database.writing() as connection:
        await connection.execute(insert(resource), [{"uuid": uuid, "type": "BackupStorageVO"} for uuid in texts])
        rows = [
            fixed | {"uuid": uuid, "name": text[:255], "url": text, "description": text} for uuid, text in texts.items()
        ]
        await connection.execute(insert(backup_storage), rows)
        await connection.execute(
            insert(tag), [tagged | {"uuid": uuid, "resourceUuid": uuid, "tag": text} for uuid, text in texts.items()]
        )
    return texts


async def found(database: Database, field: str, sign: str, value: str) -> list[str]:
    inventory = UserTagInventory if field == "tag" else BackupStorageInventory
    answer = await find(database, inventory, Query((parse_condition(f"{field}{sign}{value}"),), fields=("uuid",)))
    return [item["uuid"] for item in answer.inventories or []]


@pytest.mark.parametrize("field", ["url", "description", "__userTag__", "tag"])
async def test_a_long_text_is_compared_to_its_end(database: Database, filled: dict[str, str], field: str) -> None:
    for value in VALUES:
        same = [uuid for uuid, text in filled.items() if lower(text) == lower(value)]
        assert await found(database, field, "=", value) == same, value
        assert await found(database, field, "?=", f"{value},nothing") == same, value
        others = [uuid for uuid in filled if uuid not in same]
        assert await found(database, field, "!=", value) == others, value
        assert await found(database, field, "!?=", f"{value},nothing") == others, value


@pytest.mark.parametrize("field", ["name", "url", "description", "__userTag__", "tag"])
async def test_a_pattern_finds_what_fits_it(database: Database, filled: dict[str, str], field: str) -> None:
    for pattern in PATTERNS:
        fit = [uuid for uuid, text in filled.items() if fits(text[:255] if field == "name" else text, pattern)]
        assert await found(database, field, "~=", pattern) == fit, pattern
        assert await found(database, field, "!~=", pattern) == [uuid for uuid in filled if uuid not in fit], pattern
