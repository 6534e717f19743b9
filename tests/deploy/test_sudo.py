"""What a management node's log-in may do as root, judged by a real sudo: both forms of the rule."""

import os
import subprocess
from pathlib import Path

import jinja2
import pytest

TEMPLATE = Path(__file__).parents[2] / "ansible" / "roles" / "bs_agent" / "templates" / "sudoers.j2"
# In a mount namespace of its own: the rules in place of the machine's, and a program of the agent's name.
JUDGE = """
mount --bind "$1" /etc/sudoers && mount -t tmpfs none /usr/local/bin
install -m 755 /bin/true /usr/local/bin/bs-agent
shift
exec sudo -n -l -U nobody "$@"
"""
ENROLL = ("/usr/local/bin/bs-agent", "enroll", "--label")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace wants root")


@pytest.fixture(params=[True, False], ids=["regular expressions", "wildcards"])
def rules(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / "sudoers"
    template = jinja2.Template(TEMPLATE.read_text())
    file.write_text(template.render(bs_agent_ssh_user="nobody", bs_agent_sudo_regex=request.param) + "\n")
    file.chmod(0o440)
    return file


def allowed(rules: Path, *words: str) -> bool:
    judged = subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", JUDGE, "sh", str(rules), *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "syntax error" not in judged.stderr
    return judged.returncode == 0


@pytest.mark.parametrize("node", ["node-1.example.org", "10.0.0.1"])
def test_enrolment_and_restart_are_allowed(rules: Path, node: str) -> None:
    assert allowed(rules, *ENROLL, f"bs-management on {node}", "--json")
    assert allowed(rules, "/usr/bin/systemctl", "restart", "bs-agent")


@pytest.mark.parametrize(
    "words",
    [
        (*ENROLL, "bs-management on h", "--set", "state.directory=/tmp/x", "--json"),
        (*ENROLL, "bs-management on h", "--set=state.directory=/tmp/x", "--json"),
        (*ENROLL, "bs-management on", "--set=state.directory=/tmp/x", "--json"),
        (*ENROLL, "bs-management on h", "--config", "/tmp/x", "--json"),
        (*ENROLL, "bs-management on h --json", "--json"),
        (*ENROLL, "somebody", "--json"),
        ("/usr/local/bin/bs-agent", "run"),
        ("/usr/bin/systemctl", "restart", "sshd"),
        ("/bin/sh",),
    ],
)
def test_nothing_else_is(rules: Path, words: tuple[str, ...]) -> None:
    assert not allowed(rules, *words)
