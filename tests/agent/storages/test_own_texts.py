"""What operators and clusters write as an address: one, or the error of whoever reads it."""

from hypothesis import example, given
from hypothesis import strategies as st

from bs_agent.agent.doctor.storages import quoted, words
from bs_agent.agent.storages.ceph_mons import is_address, listens_on, split_address
from bs_agent.agent.storages.imagestore import service_address
from bs_agent.contract.errors import RequestError
from bs_agent.contract.report import MonAddress
from tests.odd_values import TEXTS

PARTS = st.sampled_from(["[", "]", ":", "::1", "127.0.0.1", "80", "65536", "²", "%", "%eth0", "/0", "0x10", " ", "-1"])
ADDRESSES = TEXTS | st.lists(PARTS | TEXTS, max_size=5).map("".join)


@given(ADDRESSES)
@example("[::1%eth0]:6789")
@example("9" * 5000)
@example("[::1]:" + "9" * 5000)
@example("[:;]")
def test_an_address_of_a_mon_is_one_or_refused(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert port is None or 0 <= port <= 65535
    assert isinstance(is_address(host), bool)
    assert not is_address(host) or split_address(host)[0] == host


@given(st.lists(ADDRESSES.filter(lambda text: len(text) < 256), max_size=3), st.lists(st.just("::1"), max_size=1))
def test_addresses_of_any_form_are_compared(texts: list[str], wanted: list[str]) -> None:
    addresses = [MonAddress(type="v1", address=text) for text in texts]
    assert isinstance(listens_on(addresses, wanted, None), bool)


@given(ADDRESSES)
@example("127.0.0.1:²")
@example("[::1]:80")
@example("127.0.0.1:" + "9" * 5000)
def test_a_service_is_at_this_host_or_refused(text: str) -> None:
    try:
        _, port = service_address(text)
    except RequestError as error:
        assert len(error.details) < 600  # noqa: PT017  what is refused is no fault
    else:
        assert 0 < port < 65536


@given(st.lists(st.text("ab \"'\\%-+/", min_size=1), max_size=3), TEXTS)
def test_what_is_quoted_for_a_unit_is_read_again(texts: list[str], other: str) -> None:
    printed = " ".join(quoted(text) if any(sign in text for sign in " \"'\\") else text for text in texts)
    assert words(printed) == [text.replace("%", "%%") if quoted(text).startswith('"') else text for text in texts]
    assert isinstance(words(other), list)
