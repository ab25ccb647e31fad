"""The report of made-up results, and the README's section, which says what the results say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.results import Entry, Figure, Results

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"


def tried(value: float, threads: int) -> Figure:
    return Figure(value, 0.1, threads, {"1": value, "2": value})


RESULTS = Results(
    ({"processor": "a processor", "cores": "2", "date": "2026-01-01"},),
    (
        Entry("P1", "fit", "us", {"PyTorch": 20, "JAX scan": 3}, {"JAX scan": 0.5}, None,
              {"fastdl": tried(10, 2), "PyTorch": tried(250, 1), "JAX scan": tried(9, 1), "thinc": tried(12345, 1)},
              {"scikit-learn": "sklearn is not installed"}),
        Entry("P20", "import", "ms", limit=60.0, figures={"fastdl": Figure(75.0, 0.0, 1, {"1": 75.0})}),
        Entry("P9", "dropout", "us", failure="MemoryError"),
    ),
)  # fmt: skip


def test_a_line_holds_values_ratio_goal_and_verdict():
    assert report.table(RESULTS) == [
        ["P1", "fit", "10 us (2 t)", "PyTorch", "250 us (1 t)", "25", ">= 20", "yes"],
        ["P1", "fit", "10 us (2 t)", "JAX scan", "9 us (1 t)", "0.9", ">= 3", "NO, but >= 0.5"],
        ["P1", "fit", "10 us (2 t)", "thinc", "12,345 us (1 t)", "1,234", "", ""],
        ["P1", "fit", "", "scikit-learn", "left out: sklearn is not installed", "", "", ""],
        ["P20", "import", "75 ms", "(limit)", "", "", "<= 60 ms", "NO"],
        ["P9", "dropout", "", "", "did not run: MemoryError", "", "", ""],
    ]


def test_what_is_missed_and_lost_is_said():
    assert report.losses(RESULTS) == [
        "1 of 3 goals are met.",
        "Not met: P1 (JAX scan), P20 (limit).",
        "fastdl is slower than the peer in: P1 (JAX scan).",
        "P9 did not run: MemoryError.",
    ]


def test_columns_stand_below_one_another():
    lines = report.as_text(RESULTS).splitlines()
    assert {line.index("fit") for line in lines[1:4]} == {lines[0].index("work")}
    assert all(line == line.rstrip() for line in lines)


def test_the_report_tells_the_machine_and_shows_the_picture():
    text = report.as_markdown(RESULTS, "results.png")
    assert "(results.png)" in text
    assert "## Machine, flags and versions\n\n- processor: a processor\n- cores: 2\n" in text
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
        "| P1 | fit | 10 us (2 t) | PyTorch: 25 → 20, **JAX scan: 0.9 → 3**, thinc: 1,234 |",
        "| P20 | import | 75 ms | **limit 60 ms** |",
        "| P9 | dropout | did not run |  |",
    ]
    assert any("a processor, 2 cores, 2026-01-01" in line for line in lines)


def test_the_section_is_written_between_its_markers():
    readme = f"before\n{report.BEGIN}old\n{report.END}after\n"
    written = report.with_section(readme, RESULTS)
    assert written == f"before\n{report.BEGIN}{report.section(RESULTS)}{report.END}after\n"
    assert report.with_section(written, RESULTS) == written


@pytest.mark.parametrize("readme", ["", report.BEGIN, f"{report.END}{report.BEGIN}", f"{report.BEGIN * 2}{report.END}"])
def test_a_readme_without_its_markers_is_told(readme: str):
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

    reached, missed, own = (each for entry in RESULTS.entries for each in picture.worth_showing(entry))
    assert [each.peer for each in (reached, missed, own)] == ["PyTorch", "JAX scan", None]
    assert [picture.kind(each)["label"] for each in (reached, missed, own)] == [
        "goal reached",
        "slower than the peer",
        "goal missed",
    ]
    for results in (RESULTS, Results()):
        picture.draw(results, tmp_path / "results.png")
        assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
