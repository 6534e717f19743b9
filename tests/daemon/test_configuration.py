"""The layers of the configuration, and every fault at once."""

from pathlib import Path

import pytest
from pydantic import Field

from bs_agent.agent.config import AgentSettings
from bs_agent.daemon.configuration import Address, ConfigError, ListenAddress, Settings, load, parse_address, reference
from bs_agent.management.config import ManagementSettings


class Server(Settings):
    """Where to serve."""

    listen: ListenAddress = Field(Address("127.0.0.1", 80), description="Where to listen.")
    names: list[str] = Field(default_factory=list, description="Names.")


class Probe(Settings):
    """What to measure."""

    interval: float = Field(10.0, gt=0, le=3600, description="Seconds between probes.")


class Sample(Settings):
    """A whole file."""

    server: Server = Field(Server(), description="The server.")
    probe: Probe = Field(Probe(), description="The probes.")


def _file(folder: Path, text: str) -> Path:
    path = folder / "sample.toml"
    path.write_text(text)
    return path


def test_an_empty_file_is_valid(tmp_path: Path) -> None:
    assert load(Sample, _file(tmp_path, ""), {}, "X") == load(Sample, None, {}, "X") == Sample()


def test_each_layer_wins_over_the_one_below(tmp_path: Path) -> None:
    path = _file(tmp_path, '[server]\nlisten = "[::1]:1"\nnames = ["a"]\n[probe]\ninterval = 1\n')
    settings = load(Sample, path, {"X_PROBE_INTERVAL": "2", "X_SERVER_NAMES": "b, c", "OTHER": "x"}, "X")
    assert settings == Sample(server=Server(listen=Address("::1", 1), names=["b", "c"]), probe=Probe(interval=2))
    assert load(Sample, path, {"X_PROBE_INTERVAL": "2"}, "X", {"probe": {"interval": 3}}).probe.interval == 3


@pytest.mark.parametrize(("model", "prefix"), [(AgentSettings, "BS_AGENT"), (ManagementSettings, "BS_MANAGEMENT")])
def test_each_key_may_be_set_by_its_variable(model: type[Settings], prefix: str) -> None:
    settings = model().model_dump(mode="json")
    for section, keys in settings.items():
        for key, default in keys.items():
            shown = ",".join(default) if isinstance(default, list) else "" if default is None else str(default)
            if shown:
                loaded = load(model, None, {f"{prefix}_{section}_{key}".upper(): shown}, prefix)
                assert loaded.model_dump(mode="json") == settings, f"{section}.{key}"


def test_all_faults_are_reported_with_file_key_and_what_is_allowed(tmp_path: Path) -> None:
    path = _file(tmp_path, '[server]\nlisten = "nowhere"\nlissten = 1\n[probe]\ninterval = 0\n')
    with pytest.raises(ConfigError) as caught:
        load(Sample, path, {"X_SERVER_PORT": "1"}, "X")
    assert caught.value.faults == [
        "environment: X_SERVER_PORT: there is no such setting",
        (
            f"{path}: line 2: server.listen: must be host:port with a port within 0..65535, for example "
            "127.0.0.1:8080, not 'nowhere'"
        ),
        f"{path}: line 3: server.lissten: there is no such key; did you mean listen?",
        f"{path}: line 5: probe.interval: Input should be greater than 0",
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[probe]\n# a comment\n\ninterval = 0\n", "line 4: probe.interval"),
        ("probe.interval = 0\n", "line 1: probe.interval"),
        ("\nprobe = {interval = 0}\n", "line 2: probe.interval"),
        ('["probe"]\n"interval" = 0\n', "line 2: probe.interval"),
        ("[server]\nnames = [\n'interval = 1',\n]\n[probe]\ninterval = 0", "line 6: probe.interval"),
        ("[server]\n\nnames = [\n'a',\n1,\n]\n", "line 3: server.names.1"),
        ('[server]\nlisten = """\n[probe]\ninterval = 1"""\n', "line 2: server.listen"),
        ("[prob]\ninterval = 1\n", "line 1: prob"),
        ("[server\n", "line 1, column 8: is not TOML"),
        ("a = \n", "line 1, column 5: is not TOML"),
    ],
)
def test_a_fault_of_a_file_names_its_line(tmp_path: Path, text: str, where: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(Sample, path, {}, "X")
    assert caught.value.faults[0].startswith(f"{path}: {where}: ")


def test_a_fault_of_the_command_line_is_not_said_to_be_the_files(tmp_path: Path) -> None:
    path = _file(tmp_path, "[probe]\ninterval = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(Sample, path, {}, "X", {"probe": {"interval": "fast", "x": 1}, "prob": {"interval": 1}})
    assert [fault.rpartition(": ")[0] for fault in caught.value.faults] == [
        "command line: --set probe.interval",
        "command line: --set probe.x",
        "command line: --set prob.interval: prob",
    ]


def test_a_fault_of_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="environment: X_PROBE_INTERVAL: Input should be"):
        load(Sample, None, {"X_PROBE_INTERVAL": "fast"}, "X")


@pytest.mark.parametrize("text", ["[server", "server = 3", "a = \xff"])
def test_what_is_no_configuration_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sample.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=str(path)):
        load(Sample, path, {}, "X")


def test_a_file_that_is_missing_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file or directory -> Create it"):
        load(Sample, tmp_path / "none.toml", {}, "X")


@pytest.mark.parametrize(
    ("text", "address"), [("[::1]:22", ("::1", 22)), ("h:0", ("h", 0)), ("127.0.0.1:65535", ("127.0.0.1", 65535))]
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert str(parse_address(text)) == text


@pytest.mark.parametrize("text", ["h", ":22", "h:", "h:65536", "h:-1", "h:1x", 7])
def test_what_is_no_address(text: object) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        parse_address(text)


def test_the_reference_names_every_key() -> None:
    page = reference(Sample, "X")
    assert '| `listen` | `"127.0.0.1:80"` | Where to listen. | `X_SERVER_LISTEN` |' in page
    assert "| `interval` | `10.0` | Seconds between probes. | `X_PROBE_INTERVAL` |" in page
