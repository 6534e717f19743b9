"""What the packages are: `packages.toml`, beside what setup.cfg says of the project."""

import configparser
import email.message
import importlib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FIRST_OF_2026 = 1767225600  # the same files make the same package


@dataclass(frozen=True)
class Command:
    """A program of a package: the section of its manual page, its click command, and what starts it."""

    section: int
    click: str
    main: str = ""


@dataclass(frozen=True)
class Configuration:
    """The file of a daemon in /etc/bs-agent: its name, its model, and the prefix of its environment variables."""

    file: str
    settings: str
    prefix: str


@dataclass(frozen=True)
class Package:
    """One package: `extras` of the distribution, `parts` (folders) of bs_agent that it has, and how it is shown."""

    name: str
    summary: str
    description: str
    extras: list[str]
    parts: list[str]
    commands: dict[str, Command]
    see_also: str
    configuration: Configuration | None = None
    private_configuration: bool = False
    first_start: str = ""
    deb: dict[str, str] = field(default_factory=dict)
    rpm: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """What setup.cfg says of the project."""

    maintainer: str
    mail: str
    homepage: str
    license: str


@dataclass(frozen=True)
class Order:
    """What is to be built: a release that is among `wheels`, for hosts of a machine type and with these Pythons."""

    version: str
    machine: str
    pythons: list[str]
    wheels: Path
    out: Path
    quick: bool


def packages() -> list[Package]:
    """Read the description."""
    told: dict[str, dict[str, Any]] = tomllib.loads((HERE / "packages.toml").read_text())
    return [_package(name, {**fields}) for name, fields in told.items()]


def _package(name: str, fields: dict[str, Any]) -> Package:
    fields["commands"] = {command: Command(**told) for command, told in fields["commands"].items()}
    if "configuration" in fields:
        fields["configuration"] = Configuration(**fields["configuration"])
    return Package(name=name, **fields)


def project() -> Project:
    """Read setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    told = setup["metadata"]
    return Project(told["maintainer"], told["maintainer_email"], told["url"], told["license"])


def version_of_tree() -> str:
    """Return the version of the source tree."""
    (version,) = re.findall(r'(?m)^__version__ = "(.*)"$', (ROOT / "bs_agent/__init__.py").read_text())
    return str(version)


def package_version(version: str) -> str:
    """Return what dpkg and rpm call a version: a pre-release comes before its release, 1.0rc1 is 1.0~rc1."""
    return re.sub(r"\.?(a|b|rc|dev)(\d+)", r"~\1\2", version)


def named(path: str) -> Any:
    """Return what `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def metadata(folder: Path) -> email.message.Message:
    """Read the METADATA of an installed distribution."""
    return email.message_from_string((folder / "METADATA").read_text())
