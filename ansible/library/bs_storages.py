#!/usr/bin/python
"""Ansible module that asks a management node for its backup storages: log-in, query and log-out in one go."""

from __future__ import annotations

import hashlib
import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: bs_storages
short_description: Ask a management node for its backup storages
description:
  - Logs in as the account admin, asks for the storages and logs out. Changes nothing, and does the same in check mode.
options:
  url:
    description: Where the host reaches the public API, without a path. The certificate is not verified.
    type: str
    required: true
  password:
    description: The password of the account admin.
    type: str
    required: true
  timeout:
    description: Seconds that one call may take.
    type: int
    default: 30
author: The bs-agent authors
"""

EXAMPLES = r"""
- name: Ask for the storages
  bs_storages:
    url: http://127.0.0.1:8080
    password: "{{ bs_management_admin_password }}"
  register: known
"""

RETURN = r"""
accepted:
  description: Whether the password is that of the account.
  returned: always
  type: bool
refusal:
  description: What the management node said where it did not accept the password.
  returned: always
  type: str
storages:
  description: Name, uuid and status of every backup storage, and the host names of its mons.
  returned: always
  type: list
"""

API = "/zstack/v1"
REFUSED = 503


class ApiError(Exception):
    """The management node answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Api:
    """The public API, as far as the question needs it."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._seconds = url + API, seconds
        self._headers = {"Content-Type": "application/json"}
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323, SLF001
        )

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send one request and return the answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._seconds) as reply:
                return dict(json.loads(reply.read() or b"{}"))
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, error.read().decode(errors="replace")) from error

    def log_in(self, password: str) -> str:
        """Log in as the administrator and return the session."""
        account = {"accountName": "admin", "password": hashlib.sha512(password.encode()).hexdigest()}
        session = self.call("PUT", "/accounts/login", {"logInByAccount": account})["inventory"]["uuid"]
        self._headers["Authorization"] = f"OAuth {session}"
        return str(session)

    def storages(self) -> list[dict[str, Any]]:
        """Return what a deployment wants to know of each storage."""
        inventories = self.call("GET", "/backup-storage?limit=10000")["inventories"]
        return [short(storage) for storage in inventories]


def short(storage: dict[str, Any]) -> dict[str, Any]:
    """Return a storage without what changes all the time."""
    mons = [{"hostname": mon["hostname"]} for mon in storage.get("mons") or []]
    return {"name": storage["name"], "uuid": storage["uuid"], "status": storage["status"], "mons": mons}


def ask(api: Api, password: str) -> dict[str, Any]:
    """Return whether the password is accepted, and the storages."""
    try:
        session = api.log_in(password)
    except ApiError as error:
        if error.status != REFUSED:
            raise
        return {"accepted": False, "refusal": str(error), "storages": []}
    try:
        return {"accepted": True, "refusal": "", "storages": api.storages()}
    finally:
        api.call("DELETE", f"/accounts/sessions/{session}")


def main() -> None:
    """Ask what the task wants to know."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    url = module.params["url"]
    try:
        module.exit_json(changed=False, **ask(Api(url, module.params["timeout"]), module.params["password"]))
    except (ApiError, OSError, ValueError) as error:
        module.fail_json(msg=f"{url} does not tell its storages: {error}")


if __name__ == "__main__":
    main()
