"""Writes the pages that derive from the code: the configuration reference and the list of errors with their cures."""

from pathlib import Path

from bs_agent.agent import config as agent
from bs_agent.contract import errors
from bs_agent.contract.reasons import REASONS
from bs_agent.daemon.configuration import reference
from bs_agent.management import config as management

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py from the code (`make docs`): do not edit. -->\n"

CONFIGURATION = """# Configuration

Two TOML files, `{agent}` and `{management}`; `--config FILE` names another. Every key has a default, so an empty file
is valid. What the environment says wins over the file, and the command line over both. `bs-agent check-config` and
`bs-management check-config` report every fault at once. SIGHUP (`systemctl reload`) reads the file again; a bad one
keeps the old configuration.

## agent.toml

{agent_keys}
## management.toml

{management_keys}"""

ERRORS = """# Errors

Every failure of the public API is answered with `{{"error": {{"code", "description", "details"}}}}`, and `cause` where
another error is behind it. `details` says what was seen; this page says what it means.

## Codes of the API

| code | HTTP status | meaning |
| --- | --- | --- |
{codes}

## Hosts and storages

A host or a storage that is not well gives its reason in `statusReason` of an inventory, and as the code `BS.<reason>`
in an error or its cause. While a reason marked with a star holds, the host counts as Disconnected.

| reason | meaning | cure |
| --- | --- | --- |
{reasons}
"""


def pages() -> dict[Path, str]:
    """Return what each page should hold."""
    configuration = CONFIGURATION.format(
        agent=agent.DEFAULT_FILE,
        management=management.DEFAULT_PATH,
        agent_keys=reference(agent.AgentSettings, agent.PREFIX),
        management_keys=reference(management.ManagementSettings, management.PREFIX),
    )
    star = {True: r" \*", False: ""}
    reasons = [f"| `{code}`{star[text.blocking]} | {text.meaning} | {text.cure} |" for code, text in REASONS.items()]
    shown = ERRORS.format(codes="\n".join(_codes(errors.ApiError)), reasons="\n".join(reasons))
    return {HERE / "configuration.md": NOTE + configuration.rstrip() + "\n", HERE / "errors.md": NOTE + shown}


def _codes(kind: type[errors.ApiError]) -> list[str]:
    rows = []
    for error in sorted(kind.__subclasses__(), key=lambda found: (found.__name__ == "StorageProblem", found.__name__)):
        if error is not errors.StorageProblem and error.__module__ == errors.__name__:
            rows.append(f"| `{error.code}` {error.__name__} | {error.http_status} | {error.description}. |")
            rows += _codes(error)
    return rows


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
