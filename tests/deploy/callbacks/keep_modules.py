"""Ansible's callback that lets all runs share the modules that they pack for the hosts: in the folder $KEPT_MODULES."""

import os
from pathlib import Path

from ansible.constants import DEFAULT_LOCAL_TMP
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: keep_modules
type: notification
short_description: lets runs share packed modules
description: Packs each module once for all runs that name the same folder KEPT_MODULES, instead of once a run.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # ansible has no types
    """Puts the shared folder where this run is going to look."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "keep_modules"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        Path(DEFAULT_LOCAL_TMP, "ansiballz_cache").symlink_to(os.environ["KEPT_MODULES"])
