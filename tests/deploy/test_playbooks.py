"""The playbooks as text: what ansible-lint asks of production, with nothing fetched from anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.releases import ROOT

LINT = Path(sys.executable).with_name("ansible-lint")


@pytest.mark.timeout(300)
def test_ansible_lint_finds_nothing(tmp_path: Path) -> None:
    # It looks for ansible-playbook on the path, and keeps what it has read under the home directory.
    environment = os.environ | {"PATH": f"{LINT.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [LINT, "--nocolor", "--offline", "--strict", "--profile", "production", "--format", "pep8"],
        cwd=ROOT / "ansible",
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert "Profile 'production' was required, and it passed" in done.stderr
