"""Calls made up from the OpenAPI document, by the thousand: no answer outside of it, and nothing unexpected inside."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.beds.agent import ROOT

WHY_NOT = "root is needed" if os.geteuid() else "" if shutil.which("unshare") else "unshare is not installed"
EXAMPLES = 3

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(WHY_NOT), reason=f"no network of our own: {WHY_NOT}"),
]


def test_no_answer_is_outside_the_document(tmp_path: Path) -> None:
    command = ["unshare", "--net", sys.executable, "-m", "tests.management.api.schemathesis_run"]
    done = subprocess.run(
        [*command, str(tmp_path), str(EXAMPLES)], capture_output=True, check=False, cwd=ROOT, text=True, timeout=500
    )
    print(done.stdout[-1500:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    selected, tested = re.findall(r"(?:Selected|Tested): (\d+)", done.stdout)
    assert selected == tested
    assert "0 tracebacks in its log" in done.stdout
