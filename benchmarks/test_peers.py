"""`python -m benchmarks.peers`: its arguments, what it writes, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

import benchmarks.machine
from benchmarks import peers
from benchmarks.interleave import OTHER, QUICK, Pace
from benchmarks.report import BEGIN, END
from benchmarks.results import Entry, Figure, Results
from benchmarks.row import Row, chosen


@pytest.mark.parametrize("rows", ["P0", "P99", "p1", "", "P1,torch", "P13 65"])
def test_an_unknown_row_is_reported_in_one_line(rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        peers.main(["--rows", rows, "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--rows: expected names among P1, P2, " in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--rows"], ["--pace", "2"], ["P1"]])
def test_other_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        peers.main(arguments)
    assert stop.value.code == 2
    assert "error" in capsys.readouterr().err


def test_a_folder_that_cannot_be_and_results_that_are_none_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("")
    (tmp_path / "results.json").write_text("[]")
    for out, words in ((tmp_path / "file", "File exists"), (tmp_path, "expected what benchmarks.peers writes")):
        with pytest.raises(SystemExit):
            peers.main(["--rows", "P22", "--out", str(out)])
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def test_a_number_stands_for_all_of_its_rows_and_the_order_is_the_tables():
    assert [row.name for row in chosen(["P22 fit", " P5"])] == ["P5", "P22 fit"]
    assert {row.number for row in chosen(["P17"])} == {"P17"}
    assert len(chosen(["P17"])) == 4


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine is looked at."""
    monkeypatch.setattr(peers, "machine", lambda level: {"processor": "a processor", "level": level or "v4"})
    monkeypatch.setattr(peers, "free_cores", lambda: "2.0 of 2")


@pytest.mark.usefixtures("still")
def test_rows_are_measured_written_and_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert peers.main(["--rows", "P22 fit", "--quick", "--out", str(tmp_path)]) == 0
    (row,) = Results.load(tmp_path / "results.json").entries
    assert all(figure.value > 0 for figure in row.figures.values())
    assert list(row.figures) == ["fastdl", "loops over arrays", "loops over lists"]
    assert "P22 fit" in capsys.readouterr().out
    assert "| P22 fit |" in (tmp_path / "RESULTS.md").read_text()
    assert peers.main(["--rows", "P21", "--quick", "--out", str(tmp_path)]) == 0
    assert [each["name"] for each in json.loads((tmp_path / "results.json").read_text())["rows"]] == ["P21", "P22 fit"]


class MadeUp:
    """In the interleaver's place: every row fails at once."""

    def __init__(self, rows: list[Row], pace: Pace, *_: object, **options: object) -> None:
        self.rows, self.versions = rows, {"fastdl": "fastdl 1"}

    def measure(self) -> Generator[Entry, None, None]:
        for row in self.rows:
            yield Entry(row.name, row.work, row.unit, failure="made up")


class Interrupted(MadeUp):
    """Ctrl-C comes after the first row."""

    def measure(self) -> Generator[Entry, None, None]:
        yield next(super().measure())
        raise KeyboardInterrupt


@pytest.mark.usefixtures("still")
def test_ctrl_c_keeps_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peers, "Interleaver", Interrupted)
    assert peers.main(["--rows", "P1,P2", "--out", str(tmp_path)]) == 1
    results = Results.load(tmp_path / "results.json")
    assert [each.name for each in results.entries] == ["P1"]
    assert results.runs[0]["interrupted"] == "after 1 of 2 rows"


@pytest.mark.usefixtures("still")
def test_no_row_is_begun_after_the_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peers, "Interleaver", MadeUp)
    for minutes, run in ((20, None), (0, "after 1 of 2 rows")):
        monkeypatch.setattr(peers, "MINUTES", minutes)
        rows, about = chosen(["P1", "P2"]), {"level": "v4"}
        peers.measured(peers.Interleaver(rows, QUICK), len(rows), about)
        assert about.get("interrupted") == run


@pytest.mark.parametrize(("ratio", "code"), [(0.97, 0), (0.96, 1)])
@pytest.mark.usefixtures("still")
def test_a_row_below_another_fastdl_fails_the_run_and_nothing_is_written(
    ratio: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    figures = {"fastdl": Figure(1.0, 0.0, 1, {"1": 1.0}), OTHER: Figure(ratio, 0.0, 1, {"1": ratio})}
    monkeypatch.setattr(peers, "measured", lambda *_: [Entry("P1", "", "us", {OTHER: 0.97}, figures=figures)])
    monkeypatch.setattr(peers, "write", None)
    assert peers.main(["--rows", "P1", "--against", sys.executable]) == code
    assert OTHER in capsys.readouterr().out


def test_an_interpreter_that_is_none_and_a_level_that_does_not_run_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        peers.main(["--against", str(tmp_path / "python")])
    assert "--against: expected an interpreter, got" in capsys.readouterr().err
    monkeypatch.setattr(benchmarks.machine, "environment", lambda level: {"FASTDL_CPU": "v9"})
    with pytest.raises(SystemExit):
        peers.main(["--level", "v3", "--out", str(tmp_path)])
    assert "--level: expected fastdl to run at v3, got " in capsys.readouterr().err


def test_the_readmes_section_is_written_anew_from_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}{END}after\n")
    monkeypatch.setattr(peers, "README", readme)
    with pytest.raises(SystemExit):
        peers.main(["--readme", "--out", str(tmp_path)])
    assert capsys.readouterr().err.endswith("results.json: expected measured rows, found none\n")
    Results(({"cores": "2"},), (Entry("P1", "work", "us", failure="made up"),)).save(tmp_path / "results.json")
    assert peers.main(["--readme", "--out", str(tmp_path)]) == 0
    assert "| P1 | work | did not run: made up |" in readme.read_text()


@pytest.mark.usefixtures("still")
def test_without_matplotlib_there_is_no_picture_and_the_report_shows_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delitem(sys.modules, "benchmarks.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    monkeypatch.setattr(peers, "measured", lambda *_: [Entry("P1", "work", "us", failure="made up")])
    assert peers.main(["--rows", "P1", "--out", str(tmp_path)]) == 1
    assert "results.png is not drawn: matplotlib is not installed" in capsys.readouterr().err
    assert "results.png" not in (tmp_path / "RESULTS.md").read_text()
