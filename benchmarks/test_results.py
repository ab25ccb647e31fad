"""Results: what is compared, what is kept, and what a further run replaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.results import Entry, Figure, Results


def figure(value: float, threads: int = 1) -> Figure:
    return Figure(value, 0.1, threads, {"1": value, "2": 2 * value})


def entry(name: str, own: float, **peers: float) -> Entry:
    figures = {"fastdl": figure(own)} | {peer: figure(value) for peer, value in peers.items()}
    return Entry(name, f"work of {name}", "us", {"PyTorch": 2.0}, None, figures)


def test_a_ratio_is_peer_over_fastdl_and_judged_by_its_goal():
    reached, missed, lost = (entry("P1", 10, PyTorch=value).comparisons[0] for value in (20, 19, 9))
    assert [each.ratio for each in (reached, missed, lost)] == [2.0, 1.9, 0.9]
    assert [each.met for each in (reached, missed, lost)] == [True, False, False]
    assert [each.lost for each in (reached, missed, lost)] == [False, False, True]


def test_a_peer_without_a_goal_is_compared_and_nothing_is_asked_of_it():
    _, other = entry("P1", 10, PyTorch=30, thinc=5).comparisons
    assert (other.peer, other.met, other.lost) == ("thinc", None, True)


def test_the_machines_own_limit_is_no_loss():
    assert not Entry("P8", "", "us", figures={"fastdl": figure(2), "FMA peak": figure(1)}).comparisons[0].lost


@pytest.mark.parametrize(("value", "met"), [(0.0, True), (60.0, True), (61.0, False)])
def test_a_limit_is_met_by_what_is_not_above_it(value: float, met: bool):
    (against,) = Entry("P20", "import", "ms", limit=60.0, figures={"fastdl": figure(value)}).comparisons
    assert against.met is met
    assert (against.ratio >= 1) is met


def test_a_row_that_did_not_run_compares_nothing():
    assert Entry("P1", "", "us", failure="ImportError: none").comparisons == []


def test_what_is_saved_is_loaded_again(tmp_path: Path):
    results = Results(({"cores": "2"},), (entry("P1", 10, PyTorch=20), Entry("P2", "", "us", failure="no memory")))
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results


def test_nothing_is_loaded_where_nothing_is(tmp_path: Path):
    assert Results.load(tmp_path / "results.json") == Results()


@pytest.mark.parametrize("text", ["{", "[]", "3", "{}", '{"runs": [], "rows": [{"name": "P1"}]}', '{"rows": [1]}'])
def test_a_file_of_something_else_is_reported_in_a_sentence(tmp_path: Path, text: str):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"results\.json: expected what benchmarks\.peers writes, got .*; remove it"):
        Results.load(tmp_path / "results.json")


def test_a_further_run_replaces_its_rows_and_keeps_the_others():
    first = Results().merged({"run": "first"}, [entry("P1", 10), entry("P2", 20)], ["P1", "P2", "P3"])
    second = first.merged({"run": "second"}, [entry("P3", 30), entry("P1", 11)], ["P1", "P2", "P3"])
    assert [each.name for each in second.entries] == ["P1", "P2", "P3"]
    assert [each.figures["fastdl"].value for each in second.entries] == [11, 20, 30]
    assert [second.runs[each.run]["run"] for each in second.entries] == ["second", "first", "second"]


def test_each_level_has_entries_of_its_own():
    high, low = (replace(entry("P1", value), level=level) for value, level in ((10, "v4"), (20, "v3")))
    first = Results().merged({"processor": "A"}, [high, replace(entry("P2", 1), level="v4")], ["P1", "P2"])
    both = first.merged({"processor": "B"}, [low], ["P1", "P2"])
    assert [each.title for each in both.entries] == ["P1 v3", "P1 v4", "P2 v4"]
    assert both.levels == {"v3": "B", "v4": "A"}
    assert both.merged({"processor": "B"}, [high], ["P1", "P2"]).levels == {"v3": "B", "v4": "B and A"}


def test_a_run_that_no_row_comes_from_any_more_is_dropped():
    first = Results().merged({"run": "first"}, [entry("P1", 10), entry("gone", 20)], ["P1", "gone"])
    second = first.merged({"run": "second"}, [entry("P1", 11)], ["P1"])
    assert second.runs == ({"run": "second"},)
    assert [(each.name, each.run) for each in second.entries] == [("P1", 0)]
