"""What can be seen of a keyring that does not fit: which file, and what is wrong with it, never what it holds."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bs_agent.agent.worker.keyring import what_does_not_fit

US = "client.bs-agent"
SECRET = "A" * 24


def key(kind: int = 1, length: int = 16, secret: int = 16) -> str:
    return base64.b64encode(
        kind.to_bytes(2, "little") + bytes(8) + length.to_bytes(2, "little") + bytes(secret)
    ).decode()


def seen(folder: Path, content: str, *, denied: bool = True) -> tuple[str, str] | None:
    file = folder / "keyring"
    file.write_text(content)
    found = what_does_not_fit(str(file), US, denied)
    return found and (found[0], found[1].replace(str(file), "FILE"))


@pytest.mark.parametrize(
    "content",
    [
        f"[{US}]\n\tkey = {key()}\n",
        f'# ours\n[client.other]\nkey=x\n[ {US} ]\n  key = "{key()}"\n\tcaps mon = "allow r"\n',
        f"[{US}]\n\tkey = {key(2, 32, 32)}\n",
    ],
    ids=["as Ceph writes it", "by hand", "of another type that the cluster refused"],
)
def test_nothing_is_wrong_with_a_key_that_is_one(tmp_path: Path, content: str) -> None:
    assert seen(tmp_path, content) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ("AuthFailed", f"FILE holds no key of {US}")),
        ("rubbish\n", ("CephConfInvalid", "FILE is no keyring")),
        (f"key = {key()}\n", ("CephConfInvalid", "FILE is no keyring")),
        (f"[client.other]\nkey = {key()}\n", ("AuthFailed", f"FILE holds no key of {US}")),
        (f"[{US}]\n[client.other]\nkey = {key()}\n", ("AuthFailed", f"FILE holds no key of {US}")),
        (f"[{US}]\nkey = {SECRET}!\n", ("CephConfInvalid", f"the key of {US} in FILE is no key")),
        (f"[{US}]\nkey = {key(1, 17)}\n", ("CephConfInvalid", f"the key of {US} in FILE is no key")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("denied", [True, False])
def test_what_is_wrong_is_named(tmp_path: Path, content: str, expected: tuple[str, str], denied: bool) -> None:
    assert seen(tmp_path, content, denied=denied) == expected


def test_a_type_that_librados_did_not_take_is_named(tmp_path: Path) -> None:
    code, text = seen(tmp_path, f"[{US}]\nkey = {key(2, 32, 32)}\n", denied=False) or ("", "")
    assert (code, "AES256K" in text, "python3-rados of Ceph 19.2.6, 20.2.4 or later" in text) == (
        "CephConfInvalid",
        True,
        True,
    )
    code, text = seen(tmp_path, f"[{US}]\nkey = {key(9)}\n", denied=False) or ("", "")
    assert (code, "type 9" in text) == ("CephConfInvalid", True)


def test_the_first_of_the_places_that_can_be_opened_counts(tmp_path: Path) -> None:
    missing, folder, good = tmp_path / "missing", tmp_path / "folder", tmp_path / "good"
    folder.mkdir()
    assert what_does_not_fit(f"{missing},{missing}2,", US, True) == (
        "AuthFailed",
        f"there is no keyring: no {missing} and no {missing}2",
    )
    assert what_does_not_fit(f"{missing},{folder}", US, True) == (
        "CephConfInvalid",
        f"{folder} cannot be read: Is a directory",
    )
    good.write_text(f"[{US}]\nkey = {key()}\n")
    assert what_does_not_fit(f"{missing}, {folder}, {good}", US, True) is None
    assert what_does_not_fit("", US, True) == ("AuthFailed", "there is no keyring: none is named")


@given(st.binary(max_size=200) | st.text('[]=\n \tkeyclient.bs-agAZ"!', max_size=200).map(str.encode), st.booleans())
def test_any_bytes_are_a_keyring_or_none(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, denied: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "any-keyring"
    file.write_bytes(content)
    found = what_does_not_fit(str(file), US, denied)
    assert found is None or (found[0] in {"AuthFailed", "CephConfInvalid"} and str(file) in found[1])
