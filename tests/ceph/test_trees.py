"""The trees of other Debians: what cannot be had, or has moved on, is said, and never taken for another release."""

from pathlib import Path

import pytest

from tests.beds import debian
from tests.beds.debian import Debian, UnavailableError
from tests.ceph import conftest

pytestmark = pytest.mark.skipif(bool(debian.MISSING), reason=f"not installed: {', '.join(debian.MISSING)}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an archive that is not there."""
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    monkeypatch.setattr(debian, "mirror", lambda _: f"file://{tmp_path}/no-archive")
    return tmp_path


def test_a_suite_that_cannot_be_had_is_named(cache: Path) -> None:
    with pytest.raises(UnavailableError, match="no tree of Debian potato: debootstrap failed"):
        Debian("potato", "20").tree()
    assert not [made for made in cache.glob("potato-*") if made.suffix != ".partial"], "the next run tries again"


def test_a_suite_that_has_another_ceph_by_now_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Debian, "_build", lambda _self, made, _needed: made.mkdir())
    monkeypatch.setattr(debian, "ceph_version", lambda _: "21.2.0")
    with pytest.raises(UnavailableError, match=r"the Ceph of Debian forky is 21\.2\.0, and not 20"):
        Debian("forky", "20").tree()


def test_a_test_of_what_is_not_there_is_skipped_with_the_reason(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conftest.DEBIANS, "99", Debian("potato", "99"))
    with pytest.raises(pytest.skip.Exception, match="no-archive"):
        conftest.tree_of("99")
    assert conftest.tree_of(conftest.OWN_RELEASE) is None
