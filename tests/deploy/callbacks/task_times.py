"""Ansible's callback that writes how long each task took: one JSON line a task, into the file $TASK_TIMES."""

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_times
type: notification
short_description: writes how long each task took
description: One JSON line a task, into the file named by the variable TASK_TIMES.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible has no types
    """Measures from the start of a task to the start of the next one."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "task_times"

    def __init__(self) -> None:
        super().__init__()
        self._name, self._action, self._began = "start", "", time.monotonic()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._next(task.get_name(), task.action)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._next("", "")

    def _next(self, name: str, action: str) -> None:
        now = time.monotonic()
        with Path(os.environ["TASK_TIMES"]).open("a") as file:
            file.write(json.dumps({"task": self._name, "action": self._action, "seconds": now - self._began}) + "\n")
        self._name, self._action, self._began = name, action, now
