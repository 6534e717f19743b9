"""Whatever the kernel's lists say of mounts: a mount, or an unknown one."""

from hypothesis import example, given
from hypothesis import strategies as st

from bs_agent.agent.storages.mounts import points_in
from bs_agent.agent.worker.filesystem import Mount, mount_in, number_in
from tests.odd_values import LINES

WELL = "36 35 98:0 /a /mnt rw,noatime shared:1 master:2 - ext4 /dev/sda rw,errors=continue\n"
UNKNOWN = Mount("", "", [], False)
PARTS = st.sampled_from(
    ["36", "35", "", "-", " - ", "98:0", "/a", "/mnt", "rw", "master:2", "\n", "\r", "\\040", "\\777"]
)
TEXTS = st.lists(PARTS | st.text(max_size=8)).map(" ".join)


def test_a_mount_is_read() -> None:
    found = mount_in(["35 1 8:0 / / rw - ext4 /dev/x rw\n", WELL], "36")
    assert found == Mount("/a /mnt", "ext4", ["rw", "errors=continue"], follows=True)
    assert mount_in([WELL], "3") == mount_in([WELL], "") == mount_in([" - \n", "\n"], "") == UNKNOWN


def test_the_number_of_a_mount_is_read() -> None:
    assert number_in(["pos:\t0\n", "flags:\t0100000\n", "mnt_id:\t36\n", "ino:\t1\n"]) == "36"
    assert number_in(["pos:\t0\n"]) == number_in(["mnt_id:\n", "mnt_id:"]) == ""


@given(st.lists(TEXTS | st.just(WELL)), TEXTS)
@example(["36"], "36")
@example(["36 35 98:0 /a /mnt -"], "36")
@example(["36 - "], "36")
def test_any_lines_are_a_list_of_mounts(lines: list[str], number: str) -> None:
    assert isinstance(number_in(lines), str)
    found = mount_in(lines, number)
    assert [type(part) for part in found] == [str, str, list, bool]
    assert all(isinstance(option, str) for option in found.options)


@given(LINES | st.lists(TEXTS).map("\n".join).map(lambda text: text.encode(errors="surrogatepass")))
@example(b"36 35 98:0 / /a\\040b\n")
@example(b"36 35 98:0 / \\777")
def test_any_bytes_are_a_list_of_mount_points(content: bytes) -> None:
    assert all(isinstance(point, bytes) for point in points_in(content))
