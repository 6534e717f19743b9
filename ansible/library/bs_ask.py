#!/usr/bin/python
"""Ansible module that asks a host many questions in one go, as each execution of a module costs more than its work."""

from __future__ import annotations

import os
import ssl
import subprocess
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: bs_ask
short_description: Ask a host many questions in one go
description:
  - Runs commands that only read, one after the other, and asks URLs for their HTTP status.
  - Never fails because of an answer and changes nothing; it does the same in check mode.
options:
  commands:
    description: The words of each command by the name of its question. Without words the answer is empty, and good.
    type: dict
    default: {}
  urls:
    description: URLs of the host itself by the name of their question. Certificates are not verified.
    type: dict
    default: {}
  timeout:
    description: Seconds that one command may take.
    type: int
    default: 30
author: The bs-agent authors
"""

EXAMPLES = r"""
- name: Look at the host
  bs_ask:
    commands:
      release: [readlink, /opt/bs-agent/current]
    urls:
      ready: https://127.0.0.1:7765/readyz
  register: seen
"""

RETURN = r"""
answers:
  description: The C(rc), C(stdout), C(stdout_lines) and C(stderr) of each command, by the name of its question.
  returned: always
  type: dict
statuses:
  description: The HTTP status of each URL by the name of its question, 0 where nothing answered.
  returned: always
  type: dict
"""

NOT_FOUND, TIMED_OUT = 127, 124
SYSTEM_PROGRAMS = "/usr/sbin:/sbin"  # not every login has them on its path
URL_SECONDS = 5.0


def run(words: list[str], seconds: float) -> dict[str, object]:
    """Run a command; one that is missing or does not end has the exit status that a shell would give it."""
    if not words:
        return answer(0, "", "")
    try:
        done = subprocess.run(
            words,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PROGRAMS}"},
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
        )
    except OSError as error:
        return answer(NOT_FOUND, "", str(error))
    except subprocess.TimeoutExpired:
        return answer(TIMED_OUT, "", f"{words[0]} did not end within {seconds:g} s")
    return answer(done.returncode, done.stdout, done.stderr)


def answer(status: int, output: str, errors: str) -> dict[str, object]:
    """Return an answer in the form of Ansible's own modules."""
    output = output.rstrip("\n")
    return {"rc": status, "stdout": output, "stdout_lines": output.splitlines(), "stderr": errors.rstrip("\n")}


def status_of(url: str) -> int:
    """Return the HTTP status of a URL, 0 where nothing answers."""
    # The host asks itself; no authority signed the agent's certificate.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323, SLF001
    )
    try:
        with opener.open(url, timeout=URL_SECONDS) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def main() -> None:
    """Ask what the task wants to know."""
    module = AnsibleModule(
        argument_spec={
            "commands": {"type": "dict", "default": {}},
            "urls": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    commands, seconds = module.params["commands"], module.params["timeout"]
    module.exit_json(
        changed=False,
        answers={name: run([str(word) for word in words], seconds) for name, words in commands.items()},
        statuses={name: status_of(url) for name, url in module.params["urls"].items()},
    )


if __name__ == "__main__":
    main()
