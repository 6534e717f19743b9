"""The key file: private, made once, and never taken for another."""

from pathlib import Path

import pytest

from bs_agent.management.secrets import KEY_FILE, Keyring, SecretsError


def test_a_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    first = Keyring.open(tmp_path / "state")
    stored = first.encrypt("s3cret")
    assert "s3cret" not in stored
    assert Keyring.open(tmp_path / "state").decrypt(stored) == "s3cret"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "state").iterdir()] == [KEY_FILE]
    assert (tmp_path / "state" / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_another_key_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    stored = Keyring.open(tmp_path / "one").encrypt("s3cret")
    with pytest.raises(SecretsError, match="restore the key file that belongs to the database"):
        Keyring.open(tmp_path / "two").decrypt(stored)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    Keyring.open(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o644)
    with pytest.raises(SecretsError, match="others may read it; run `chmod 600"):
        Keyring.open(tmp_path)


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).touch(mode=0o600)
    with pytest.raises(SecretsError, match="is not a key file"):
        Keyring.open(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SecretsError, match="Not a directory"):
        Keyring.open(tmp_path / "file" / "state")
