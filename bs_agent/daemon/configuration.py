"""Configuration: defaults < TOML file < environment < command line, checked as a whole, every fault at once.

A daemon declares its sections as `Settings` models; the reference page is written from the same declaration.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from bs_agent.daemon.cures import cannot_read


class Settings(BaseModel):
    """A configuration file, or one section of it: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)
_PORT = re.compile("[0-9]{1,5}")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]+")
MAX_FILE = 1024 * 1024
LONGEST_FAULT = 1000
LONGEST_SEARCH = 1000  # lines in which a key is looked for

BAD_CONFIGURATION = 78  # the exit status (EX_CONFIG) at which systemd does not start a daemon again


class ConfigError(Exception):
    """The configuration is not valid; `faults` holds one sentence for each fault, each of one line."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = [_one_line(fault) for fault in faults]
        super().__init__("\n".join(self.faults))


def _one_line(fault: str) -> str:
    # A key or a variable may have a name of any characters, and of any length.
    text = _CONTROL.sub(" ", fault.encode(errors="backslashreplace").decode())
    return text if len(text) <= LONGEST_FAULT else text[: LONGEST_FAULT - 1] + "…"


class Address(NamedTuple):
    """Where to listen or to connect."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """Parse `host:port`; an IPv6 host stands in brackets.

    Raises:
        ValueError: the text has another form or the port is not within 0..65535.
    """
    if isinstance(text, Address):
        return text
    host, colon, port = str(text).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and _PORT.fullmatch(port)) or int(port) > 65535:
        shown = str(text)[:100]
        raise ValueError(f"must be host:port with a port within 0..65535, for example 127.0.0.1:8080, not {shown!r}")
    return Address(host, int(port))


def _usable(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("must not hold the character NUL")
    return path


FilePath = Annotated[Path, AfterValidator(_usable)]
ListenAddress = Annotated[Address, BeforeValidator(parse_address), PlainSerializer(str)]


def load(
    model: type[S],
    path: Path | None,
    environment: Mapping[str, str],
    prefix: str,
    command_line: Mapping[str, Mapping[str, Any]] | None = None,
) -> S:
    """Read and check the configuration.

    `path` is None when no file is named and the default one does not exist.
    A variable is called `<prefix>_<SECTION>_<KEY>`.

    Raises:
        ConfigError: the file cannot be read, or something in one of the layers is not allowed.
    """
    text = _read(path) if path else ""
    from_file = _parse(path, text) if path else {}
    from_environment, sources, faults = _overlay(model, environment, prefix)
    merged: dict[str, Any] = {**from_file}
    above = command_line or {}
    for section, values in above.items():
        sources |= {(section, key): f"command line: --set {section}.{key}" for key in values}
    for layer in (from_environment, above):
        for section, values in layer.items():
            below = merged.get(section, {})
            merged[section] = {**below, **values} if isinstance(below, dict) else values
    try:
        settings = model.model_validate(merged)
    except ValidationError as error:
        for fault in error.errors():
            where = _place(fault["loc"], sources, path, text)
            faults.append(f"{where}: {_message(model, fault['loc'], fault['msg'])}")
    if faults:
        raise ConfigError(faults)
    return settings


def reference(model: type[Settings], prefix: str) -> str:
    """Write the reference of all keys as Markdown."""
    lines: list[str] = []
    for section, field in model.model_fields.items():
        lines += [f"### `[{section}]`", "", field.description or "", ""]
        lines += ["| key | default | meaning | variable |", "| --- | --- | --- | --- |"]
        for key, value in _section(model, section).model_fields.items():
            default = value.get_default(call_default_factory=True)
            shown = f'"{default}"' if isinstance(default, str | Address | Path) else str(default).lower()
            lines.append(f"| `{key}` | `{shown}` | {value.description} | `{_variable(prefix, section, key)}` |")
        lines.append("")
    return "\n".join(lines)


def _section(model: type[Settings], name: str) -> type[Settings]:
    annotation = model.model_fields[name].annotation
    if not isinstance(annotation, type) or not issubclass(annotation, Settings):
        raise TypeError(f"{model.__name__}.{name} is not a section")
    return annotation


def _variable(prefix: str, section: str, key: str) -> str:
    return f"{prefix}_{section}_{key}".upper()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise ConfigError([f"{path}: is larger than {MAX_FILE} bytes"])
        return content.decode()
    except OSError as error:
        raise ConfigError([cannot_read(path, error)]) from error
    except ValueError as error:
        raise ConfigError([f"{path}: is not TOML: {error}"]) from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError([f"{path}: is not TOML that can be read: it nests too deep"]) from error
    except ValueError as error:
        what, _, where = str(error).removesuffix(")").rpartition(" (at ")
        raise ConfigError([f"{path}: {where}: is not TOML: {what}"]) from error


def _line(text: str, location: tuple[int | str, ...]) -> int:
    """Return the number of the line where a key is given, or 0: the first lines that hold it, as the parser reads them.

    Lines that end within a value are no TOML by themselves, so a value of several lines begins behind those before it.
    """
    lines = text.splitlines(keepends=True)
    begin = 1
    for number in range(1, min(len(lines), LONGEST_SEARCH) + 1):
        try:
            found: Any = tomllib.loads("".join(lines[:number]))
        except (ValueError, RecursionError):
            continue
        for part in location:
            if not isinstance(found, dict) or part not in found:
                break
            found = found[part]
            if not isinstance(found, dict):
                return begin
        else:
            return begin
        begin = number + 1
    return 0


def _overlay(
    model: type[Settings], environment: Mapping[str, str], prefix: str
) -> tuple[dict[str, dict[str, Any]], dict[tuple[str, str], str], list[str]]:
    """Return the values of the environment, where each is from, and a fault for each variable that names no key."""
    keys = {section: _section(model, section).model_fields for section in model.model_fields}
    known = {_variable(prefix, section, key): (section, key) for section, fields in keys.items() for key in fields}
    values: dict[str, dict[str, Any]] = {}
    sources: dict[tuple[str, str], str] = {}
    faults: list[str] = []
    for variable, text in environment.items():
        if variable in known:
            section, key = known[variable]
            is_list = get_origin(keys[section][key].annotation) is list
            parts = [part.strip() for part in text.split(",") if part.strip()]
            values.setdefault(section, {})[key] = parts if is_list else text
            sources[section, key] = f"environment: {variable}"
        elif variable.startswith(prefix + "_"):
            faults.append(f"environment: {variable}: there is no such setting")
    return values, sources, faults


def _place(
    location: tuple[int | str, ...], sources: Mapping[tuple[str, str], str], path: Path | None, text: str
) -> str:
    """Say where a key is given: by the command line, the environment, or on which line of the file."""
    own = sources.get((str(location[0]), str(location[1]))) if len(location) > 1 else None
    if own:
        return own
    key = ".".join(str(part) for part in location)
    if path and (line := _line(text, location)):
        return f"{path}: line {line}: {key}"
    above = [source for (section, _), source in sources.items() if location[:1] == (section,)]
    return f"{' and '.join(above)}: {key}" if above else f"{path or 'command line'}: {key}"


def _message(model: type[Settings], location: tuple[int | str, ...], message: str) -> str:
    """Say what is wrong; of a key that there is not, which comes near."""
    if message != "Extra inputs are not permitted":
        return message.removeprefix("Value error, ")
    known = model.model_fields if len(location) == 1 else _section(model, str(location[0])).model_fields
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"there is no such key; {hint}"
