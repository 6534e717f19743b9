"""Ansible's callback that kills the run in the middle of a task: the first of $KILL_AT, a JSON list, on $KILL_ON."""

import json
import os
import signal
import threading
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kill_at
type: notification
short_description: kills the run
description: Kills the whole run shortly after the first of the tasks KILL_AT began on the host KILL_ON.
"""
INTO_THE_TASK = 0.15


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible has no types
    """Kills the process group of the run, as a lost controller would."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "kill_at"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        if host.get_name() == os.environ["KILL_ON"] and task.get_name() in json.loads(os.environ["KILL_AT"]):
            threading.Timer(INTO_THE_TASK, os.killpg, (os.getpgid(0), signal.SIGKILL)).start()
