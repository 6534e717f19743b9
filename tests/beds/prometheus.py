"""A Prometheus as a process of its own, on loopback, and its tool; what it is asked by its HTTP API."""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.beds.node import free_port

PROGRAM, TOOL = shutil.which("prometheus"), shutil.which("promtool")
MISSING = "Prometheus is not installed (apt-get install --no-install-recommends prometheus)"
_DEADLINE = 30.0


def promtool(*words: str, told: str = "", folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run promtool to its end, with this on its standard input."""
    if TOOL is None:
        raise RuntimeError(MISSING)
    return subprocess.run(
        [TOOL, *words], input=told, capture_output=True, text=True, check=False, timeout=60, cwd=folder
    )


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    port: int
    log: Path

    def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 RUF100  whatever it answers
        """Return the data of an answer of its API.

        Raises:
            AssertionError: it refuses the question.
        """
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return what an expression yields now."""
        result: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return result


@contextlib.contextmanager
def prometheus(folder: Path, configuration: str) -> Iterator[Prometheus]:
    """Run it on a folder of its own while the context is open.

    Raises:
        RuntimeError: it is not installed, or does not start.
    """
    if PROGRAM is None:
        raise RuntimeError(MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "prometheus.yml", folder / "prometheus.log"
    config.write_text(configuration)
    port = free_port()
    command = [
        PROGRAM, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with log.open("wb") as written, subprocess.Popen(command, stdout=written, stderr=written) as process:
        try:
            until = time.monotonic() + _DEADLINE
            while not _is_ready(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"Prometheus does not start: {log.read_text()[-2000:]}")
                time.sleep(0.05)
            yield Prometheus(port, log)
        finally:
            process.terminate()
            try:
                process.wait(_DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()


def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
        return int(answer.status) == 200
    return False
