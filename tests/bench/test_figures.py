"""The table that `make bench` ends with: what is kept, what is missed, and who may be asked for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import figures
from tests.bench.figures import Beside, Budget, Figure, at_least, at_most

HERE = Path(__file__).parent

BARE = Beside(name="bare", value=2)


@pytest.mark.parametrize(
    ("value", "ratio", "budget", "kept"),
    [
        (1.0, None, None, None),
        (1.0, None, at_most(1), True),
        (1.01, None, at_most(1), False),
        (5.0, 1.1, at_most(1.2), True),
        (0.1, 1.3, at_most(1.2), False),
        (0.1, 0.8, at_least(0.8), True),
        (9.0, 0.79, at_least(0.8), False),
        (9.0, 2.5, Budget(least=2, most=3), True),
        (9.0, 1.9, Budget(least=2, most=3), False),
    ],
)
def test_the_ratio_is_judged_where_there_is_one(
    value: float, ratio: float | None, budget: Budget | None, kept: bool | None
) -> None:
    figure = Figure(name="f", value=value, unit="ms", limit=BARE, ratio=ratio, budget=budget)
    assert figure.kept is kept
    assert figure.row()[-1] == {True: "kept", False: "MISSED", None: ""}[kept]


def test_the_table_has_a_line_for_each_figure() -> None:
    lines = figures.table(
        [
            Figure(name="slow", value=1234.5, unit="ms", budget=at_most(1000), spread=(1200, 1300)),
            Figure(name="near", value=3, unit="ms", limit=BARE, ratio=1.5, budget=at_most(2)),
        ]
    ).splitlines()
    assert [line.split() for line in lines] == [
        ["figure", "measured", "peer", "limit", "ratio", "budget"],
        ["slow", "1,234", "ms", "(1,200-1,300)", "<=", "1,000", "ms", "MISSED"],
        ["near", "3", "ms", "bare", "2", "ms", "1.5", "x", "<=", "2", "x", "kept"],
    ]


def test_what_is_told_is_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = tmp_path / "figures"
    monkeypatch.setenv(figures.GATHERED_IN, str(gathered))
    first = Figure(name="a", value=1, unit="s", peer=BARE, ratio=0.5, budget=at_most(1), spread=(0.4, 0.6))
    second = Figure(name="b", value=2, unit="s", budget=at_most(1))
    assert figures.tell(first)
    assert not figures.tell(second)
    assert figures.read(gathered) == [first, second]
    assert [json.loads(line)["kept"] for line in gathered.read_text().splitlines()] == [True, False]


@pytest.mark.parametrize(("value", "status"), [(1, 0), (3, 1)])
def test_a_missed_budget_is_the_status(
    value: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(name: str, gathered: Path, *, quick: bool) -> bool:
        figure = Figure(name=f"of {name}", value=value, unit="s", budget=at_most(2))
        gathered.write_text(json.dumps(figure.as_written()) + "\n")
        return True

    monkeypatch.setattr(bench, "run", told)
    monkeypatch.setattr(sys, "argv", ["bench", "cli", "--json", str(tmp_path / "out.json")])
    assert bench.main() == status
    written = json.loads((tmp_path / "out.json").read_text())
    assert [(figure["name"], figure["kept"]) for figure in written["figures"]] == [("of cli", not status)]
    assert written["machine"]["cores"] > 0
    assert ("1 missed: of cli" if status else "all kept") in capsys.readouterr().out


def test_a_benchmark_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "QUICK", ("no_such_module",))
    monkeypatch.setattr(sys, "argv", ["bench", "no_such_module"])
    assert bench.main() == 1
    assert "failed: no_such_module" in capfd.readouterr().err


def test_each_benchmark_is_there_and_can_be_run() -> None:
    names = [*bench.QUICK, *bench.LONG]
    assert len(names) == len({*names})
    for name in names:
        text = (HERE / f"{name}.py").read_text()
        assert 'if __name__ == "__main__":' in text, name
    for name in bench.QUICK:
        assert "--quick" in (HERE / f"{name}.py").read_text(), f"{name} cannot be quick"


@pytest.mark.parametrize(
    ("words", "said"),
    [(["nothing"], "there is no benchmark nothing"), (["--quick", "deployment"], "deployment cannot be quick")],
)
def test_what_is_not_there_is_refused(words: list[str], said: str) -> None:
    command = [sys.executable, "-m", "tests.bench", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr
