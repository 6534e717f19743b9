"""The description of the container, followed line by line in trees of its distribution: no builder is needed."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.beds import hosts
from tests.beds.image import base_image
from tests.beds.place import Namespace
from tests.deploy.packages import Built
from tests.deploy.releases import ROOT

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(hosts.MISSING), reason=f"a tree needs {', '.join(hosts.MISSING)}"),
]

FILE = ROOT / "systemd/container/Containerfile"
KNOWN = {
    "FROM", "COPY", "RUN", "USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD",
}  # fmt: skip
START_SECONDS = 90.0


def lines() -> list[tuple[str, str]]:
    """Return the instructions, each with the rest of its line."""
    text = re.sub(r"\\\n", " ", FILE.read_text())
    found = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, rest in found]


def stages() -> list[list[tuple[str, str]]]:
    told: list[list[tuple[str, str]]] = []
    for word, rest in lines():
        if word == "FROM":
            told.append([])
        told[-1].append((word, rest))
    return told


class Image:
    """The tree of the last stage, made as the file says; apt, which wants a network, has nothing to do there."""

    def __init__(self, folder: Path, packages: Built) -> None:
        self._folder, self._deb = folder, packages.deb("bs-management")
        self.settings: dict[str, str] = {}

    @contextmanager
    def made(self) -> Iterator[Namespace]:
        package, last = stages()
        for name in ("package", "last", "context"):
            (self._folder / name).mkdir()
        shared = self._folder / "context"
        with Namespace(self._folder / "package", base_image()) as tree:
            self._follow(tree, package)
            tree.run("cp", "-a", "/image", str(shared / "image"))
        with Namespace(self._folder / "last", base_image()) as tree:
            tree.run("ln", "-s", "/bin/true", "/usr/local/bin/apt-get")
            self._follow(tree, last)
            yield tree

    def _follow(self, tree: Namespace, stage: list[tuple[str, str]]) -> None:
        for word, rest in stage:
            assert word in KNOWN
            if word == "RUN":
                tree.run("sh", "-ec", rest)
            elif word == "COPY":
                *options, source, target = rest.split()
                self._copy(tree, source, target, other=options == ["--from=package"])
            else:
                self.settings[word] = rest

    def _copy(self, tree: Namespace, source: str, target: str, *, other: bool) -> None:
        if other:
            tree.run("cp", "-a", f"{self._folder}/context/{source.strip('/')}/.", target)
            return
        if source.startswith("dist/deb/"):
            assert self._deb.match(Path(source).name)
            outside = self._deb
        else:
            outside = ROOT / source
        copied = self._folder / "context" / outside.name
        shutil.copy(outside, copied)
        tree.run("cp", str(copied), target)


@pytest.mark.long
def test_the_container_serves_as_nobody_of_importance_and_says_whether_it_is_well(
    packages: Built, tmp_path: Path
) -> None:
    image = Image(tmp_path, packages)
    with image.made() as tree, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        user = image.settings["USER"].split(":")
        assert user == ["7766", "7766"]
        inside = ["setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups", "--no-new-privs"]
        inside += ["env", "-i", "PATH=/usr/bin", f"BS_MANAGEMENT_SERVER_LISTEN={listen}"]
        health = [*inside, *json.loads(image.settings["HEALTHCHECK"].partition("CMD ")[2])]
        started = [*inside, *json.loads(image.settings["ENTRYPOINT"]), *json.loads(image.settings["CMD"])]
        assert status(tree, health) == 1, "nothing runs yet"
        with (tmp_path / "log").open("w") as log:
            node = subprocess.Popen(tree.command(*started), stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while status(tree, health) and node.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            assert status(tree, health) == 0, (tmp_path / "log").read_text()
            owners = tree.run(
                "stat", "--format=%u", image.settings["VOLUME"], f"{image.settings['VOLUME']}/management.db"
            )
            assert owners.split() == ["7766", "7766"]
            assert tree.run("find", "/usr", "/etc", "-user", "7766") == "", "it can change nothing of itself"
        finally:
            node.send_signal(getattr(signal, image.settings["STOPSIGNAL"]))
            assert node.wait(30) == 0
        assert status(tree, health) == 1


def status(tree: Namespace, command: list[str]) -> int:
    done = subprocess.run(tree.command(*command), check=False, capture_output=True, text=True, timeout=30)
    assert "Traceback" not in done.stderr, shlex.join(command) + done.stderr
    return done.returncode


def test_nothing_but_what_it_copies_is_given_to_a_builder() -> None:
    told = FILE.with_name(f"{FILE.name}.dockerignore").read_text().split()
    assert told[0] == "*"
    copied = [rest.split()[0] for word, rest in lines() if word == "COPY" and not rest.startswith("--from")]
    given = [name.removeprefix("!") for name in told[1:]]
    assert all(any(name == each or name.startswith(f"{each}/") for each in given) for name in copied)
    assert os.access(FILE.parent / "healthy.py", os.R_OK)
