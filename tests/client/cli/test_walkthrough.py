"""The walk with curl, line by line as the page has it, but for the port: it says what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.beds.agent import ROOT
from tests.client.cli.conftest import Operator

PAGE = ROOT / "docs" / "walkthrough.md"
END = "-- end of a block --"


def test_the_walk_says_what_the_page_says(operator: Operator, tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == PAGE.read_text().count("```sh")
    (tmp_path / "images").mkdir()
    agent = f'bs-agent() {{ "{sys.executable}" -m bs_agent.agent "$@" --config "{operator.agent.config}"; }}\n'
    # An answer has no line end of its own.
    ends = 'curl() { command curl "$@"; code=$?; case " $* " in *" -o "*) ;; *) echo ;; esac; return $code; }\n'
    script = "set -eu\n" + agent + ends + "".join(f"{lines}echo '{END}'\n" for lines, _ in blocks)
    done = subprocess.run(
        ["bash", "-c", script.replace("127.0.0.1:8080", f"127.0.0.1:{operator.node.port}")],
        cwd=tmp_path,
        env=os.environ
        | {"PASSWORD": operator.node.password, "DIRECTORY": f"{tmp_path}/images", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for said, (lines, wanted) in zip(done.stdout.split(f"{END}\n"), blocks, strict=False):
        pattern = ".*".join(map(re.escape, wanted.strip().split("...")))
        assert re.fullmatch(pattern, said.strip()), f"{lines}\n{said}"
