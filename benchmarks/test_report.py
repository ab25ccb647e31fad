"""The report of made-up results, and the README's section, which says what the results say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.results import Entry, Figure, Results
from benchmarks.row import ROWS

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"


def tried(value: float, threads: int) -> Figure:
    return Figure(value, 0.1, threads, {"1": value, "2": value})


RESULTS = Results(
    (
        {"processor": "a processor", "cores": "2", "date": "2026-01-01"},
        {"processor": "another", "cores": "8", "date": "2026-01-02"},
    ),
    (
        Entry("P1", "fit", "us", {"PyTorch": 20, "JAX scan": 3}, None,
              {"fastdl": tried(10, 2), "PyTorch": tried(250, 1), "JAX scan": tried(9, 1), "thinc": tried(12345, 1)},
              {"scikit-learn": "sklearn is not installed"}, level="v3"),
        Entry("P1", "fit", "us", {"PyTorch": 20, "JAX scan": 3}, None,
              {"fastdl": tried(5, 1), "PyTorch": tried(250, 1)}, {"JAX scan": "no JAX"}, run=1, level="v4"),
        Entry("P20", "import", "ms", limit=60.0, figures={"fastdl": Figure(75.0, 0.0, 1, {"1": 75.0})}, level="v3"),
        Entry("P9", "dropout", "us", failure="MemoryError", level="v3"),
    ),
)  # fmt: skip


def test_a_line_holds_goal_ratio_values_and_verdict_at_each_level():
    assert report.headings(RESULTS) == ["row", "work", "peer", "goal", "v3, a processor", "v4, another"]
    assert report.table(RESULTS) == [
        ["P1", "fit", "PyTorch", ">= 20", "25 = 250 us (1 t) / 10 us (2 t)", "50 = 250 us (1 t) / 5 us (1 t)"],
        ["P1", "fit", "JAX scan", ">= 3", "0.9 = 9 us (1 t) / 10 us (2 t), missed", "left out: no JAX"],
        ["P1", "fit", "thinc", "", "1,234 = 12,345 us (1 t) / 10 us (2 t)", ""],
        ["P1", "fit", "scikit-learn", "", "left out: sklearn is not installed", ""],
        ["P20", "import", "(limit)", "<= 60 ms", "75 ms, missed", ""],
        ["P9", "dropout", "", "", "did not run: MemoryError", ""],
    ]


def test_what_is_missed_and_lost_is_said():
    assert report.losses(RESULTS) == [
        "2 of 4 goals are met.",
        "Not met: P1 v3 (JAX scan), P20 v3 (limit).",
        "fastdl is slower than the peer in: P1 v3 (JAX scan).",
        "P9 v3 did not run: MemoryError.",
    ]


def test_columns_stand_below_one_another():
    lines = report.as_text(RESULTS).splitlines()
    assert {line.index("fit") for line in lines[1:4]} == {lines[0].index("work")}
    assert all(line == line.rstrip() for line in lines)


def test_the_report_shows_the_machine_and_shows_the_picture():
    text = report.as_markdown(RESULTS, "results.png")
    assert "(results.png)" in text
    assert "## Machine, flags and versions: P1 v3, P20 v3, P9 v3\n\n- processor: a processor\n- cores: 2\n" in text
    assert "(results.png)" not in report.as_markdown(RESULTS)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1


def test_rows_of_several_runs_name_theirs():
    entries = (Entry("P1", "", "us", failure="a"), Entry("P2", "", "us", failure="b", run=1))
    text = report.as_markdown(Results(({"cores": "1"}, {"cores": "2"}), entries))
    assert "versions: P1\n\n- cores: 1\n\n## Machine, flags and versions: P2\n\n- cores: 2\n" in text


def test_the_readmes_line_of_a_row_marks_what_misses_or_loses():
    lines = report.section(RESULTS).splitlines()
    assert lines[-3:] == [
        "| row | work | v3 | v4 |",
        "| --- | --- | --- | --- |",
        "| P1 | fit | PyTorch: 25 → 20, **JAX scan: 0.9 → 3**, thinc: 1,234 | PyTorch: 50 → 20 |",
    ]
    assert any("8 cores, 2026-01-02; v3: a processor; v4: another." in line for line in lines)


def test_the_readme_shows_rows_that_there_are():
    import benchmarks.rows

    assert benchmarks.rows
    assert set(report.TELLING) <= {each.number for each in ROWS.values()}


def test_the_section_is_written_between_its_markers():
    readme = f"before\n{report.BEGIN}old\n{report.END}after\n"
    written = report.with_section(readme, RESULTS)
    assert written == f"before\n{report.BEGIN}{report.section(RESULTS)}{report.END}after\n"
    assert report.with_section(written, RESULTS) == written


@pytest.mark.parametrize("readme", ["", report.BEGIN, f"{report.END}{report.BEGIN}", f"{report.BEGIN * 2}{report.END}"])
def test_a_readme_without_its_markers_is_reported(readme: str):
    with pytest.raises(ValueError, match=r"README\.md: expected the markers"):
        report.with_section(readme, RESULTS)


def test_the_readme_and_the_report_say_what_the_results_say():
    results = Results.load(FOLDER / "results.json")
    assert results.entries
    assert report.with_section(README.read_text(), results) == README.read_text()
    assert report.as_markdown(results, "results.png") == (FOLDER / "RESULTS.md").read_text()


def test_the_picture_shows_what_has_a_goal_or_is_lost(tmp_path: Path):
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    from benchmarks import picture

    shown = [each for entry in RESULTS.entries for each in picture.worth_showing(entry)]
    assert [(each.peer, picture.kind(each)["label"]) for each in shown] == [
        ("PyTorch", "goal reached"),
        ("JAX scan", "slower than the peer"),
        ("PyTorch", "goal reached"),
        (None, "goal missed"),
    ]
    for results in (RESULTS, Results()):
        picture.draw(results, tmp_path / "results.png")
        assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
