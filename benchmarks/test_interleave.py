"""Interleaving: whose turn it is, what is made of what was measured, and who is left out."""

from __future__ import annotations

from contextlib import closing
from typing import Any, ClassVar

import pytest

from benchmarks import interleave
from benchmarks.interleave import Interleaver, Pace, figure, keys, rotated
from benchmarks.process import Process
from benchmarks.row import ROWS, Row, Side, side


def row(name: str, **sides: Side) -> Row:
    return Row(name, f"work of {name}", lambda: sides, {"peer": 2.0}, None, "us")


class Played:
    """In a process's place: its answers follow from who asks, and what happens is written down."""

    diary: ClassVar[list[str]] = []
    broken: ClassVar[dict[str, dict[str, Any]]] = {}
    values: ClassVar[dict[str, list[float]]] = {}

    def __init__(self, threads: int, python: str | None, level: str | None) -> None:
        self.threads, self.python, self.level, self.alive, self.name = threads, python, level, True, ""
        self.diary.append(" ".join(map(str, filter(None, ("start", threads, python, level)))))

    def ask(self, **message: Any) -> dict[str, Any]:
        self.send(**message)
        return self.receive()

    def send(self, **message: Any) -> None:
        self.message = message
        if "build" in message:
            self.name = " ".join(filter(None, (message["build"]["side"], self.python)))

    def receive(self) -> dict[str, Any]:
        doing = next(iter(self.message))
        self.diary.append(f"{doing} {self.name} {self.threads}")
        if doing in self.broken.get(self.name, {}):
            return {"missing": self.broken[self.name][doing]}
        if doing == "build":
            return {"version": f"{self.name} 1", "place": f"the folder of {self.python}"}
        values = self.values.get(self.name, [30.0])
        value = values.pop(0) if len(values) > 1 else values[0]
        return {"values": [value / self.threads] * 3}

    def close(self) -> None:
        self.diary.append(f"close {self.name} {self.threads}")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> type[Played]:
    monkeypatch.setattr(interleave, "Process", Played)
    Played.diary, Played.broken, Played.values = [], {}, {"fastdl": [10.0]}
    return Played


PACE = Pace(0.0, 0.0, 3)
TWO = row("P1", fastdl=side("fastdl", "fit", threads=(1,)), peer=side("torch", "loop", threads=(1,)))


def test_slices_of_all_sides_are_measured_in_turn(played: type[Played]):
    (entry,) = Interleaver([TWO], PACE).measure()
    turns = [line.split()[1] for line in played.diary if line.startswith("measure")]
    assert turns == ["fastdl", "peer", "peer", "fastdl", "fastdl", "peer"]
    assert entry.comparisons[0].ratio == 3.0


def test_each_sides_better_number_of_threads_counts(played: type[Played]):
    (entry,) = Interleaver([row("P1", fastdl=side("fastdl", "fit"), peer=side("torch", "loop"))], PACE).measure()
    assert entry.figures["fastdl"] == (5.0, 0.0, 2, {"1": 10.0, "2": 5.0})


@pytest.mark.parametrize("when", ["build", "measure"])
def test_a_peer_that_does_not_run_is_left_out_with_its_reason(played: type[Played], when: str):
    played.broken = {"peer": {when: "torch is not installed"}}
    (entry,) = Interleaver([TWO], PACE).measure()
    assert list(entry.figures) == ["fastdl"]
    assert entry.left_out == {"peer": "torch is not installed"}


@pytest.mark.parametrize("when", ["build", "measure"])
def test_a_row_that_fastdl_cannot_run_is_a_failure(played: type[Played], when: str):
    played.broken = {"fastdl": {when: "MemoryError"}}
    (entry,) = Interleaver([TWO], PACE).measure()
    assert (entry.name, entry.failure, entry.comparisons) == ("P1", "MemoryError", [])


def test_processes_are_kept_while_they_are_needed_and_then_closed(played: type[Played]):
    last = row("P2", fastdl=side("fastdl", "fit", threads=(1,)))
    interleaver = Interleaver([TWO, last], PACE)
    with closing(interleaver.measure()) as entries:
        assert [entry.name for entry in entries] == ["P1", "P2"]
    assert played.diary.count("start 1") == 2
    assert [line for line in played.diary if line.startswith("close")] == ["close peer 1", "close fastdl 1"]
    assert interleaver.versions == {"fastdl": "fastdl 1", "torch": "peer 1"}


def test_processes_end_with_a_run_that_is_broken_off(played: type[Played]):
    with closing(Interleaver([TWO, TWO], PACE).measure()) as entries:
        next(entries)
    assert [line for line in played.diary if line.startswith("close")] == ["close fastdl 1", "close peer 1"]


def test_another_environments_fastdl_is_a_side_of_each_row(played: type[Played]):
    played.values["fastdl other/python"] = [12.0]
    interleaver = Interleaver([TWO], PACE, "v3", "other/python", peers=False)
    (entry,) = interleaver.measure()
    assert [line for line in played.diary if line.startswith("start")] == ["start 1 v3", "start 1 other/python v3"]
    (comparison,) = entry.comparisons
    assert (comparison.peer, comparison.ratio, comparison.goal, comparison.met) == ("other fastdl", 1.2, 0.97, True)
    assert interleaver.versions == {"fastdl": "fastdl 1", "other fastdl": "fastdl other/python 1"}


@pytest.mark.parametrize(
    ("values", "runs", "slower"), [([9.0], 3, True), ([9.0] * 3 + [9.8], 2, False), ([9.0] * 6 + [11.0], 3, False)]
)
def test_a_row_that_is_slower_than_another_fastdl_is_measured_three_times(
    played: type[Played], values: list[float], runs: int, slower: bool
):
    played.values["fastdl other"] = values
    (entry,) = Interleaver([TWO], PACE, against="other").measure()
    assert sum(line.startswith("measure fastdl 1") for line in played.diary) == runs * PACE.rounds
    assert interleave.slower_than_other(entry) is slower


def test_an_environment_without_a_fastdl_of_its_own_is_left_out(played: type[Played], monkeypatch: pytest.MonkeyPatch):
    answer = Played.receive
    monkeypatch.setattr(Played, "receive", lambda self: answer(self) | {"place": "here"})
    (entry,) = Interleaver([TWO], PACE, against="other").measure()
    assert entry.left_out == {"other fastdl": "its environment has no fastdl of its own, but here"}


def test_every_side_and_number_of_threads_has_a_process_of_its_own():
    found = keys({"fastdl": side("fastdl", "fit"), "again": side("fastdl", "loop", threads=(1,))})
    assert found == {
        ("fastdl", 1): ("fastdl", 1, None, 0),
        ("fastdl", 2): ("fastdl", 2, None, 0),
        ("again", 1): ("fastdl", 1, None, 1),
    }


def test_a_fresh_sides_process_is_shared_with_no_row():
    first, second = (keys({"fastdl": side("fastdl", "memory", threads=(2,), fresh=True)}) for _ in "ab")
    assert set(first.values()).isdisjoint(second.values())


def test_another_side_begins_each_turn():
    assert [rotated(["a", "b", "c"], turn)[0] for turn in range(4)] == ["a", "b", "c", "a"]
    assert rotated([], 3) == []


def test_a_figure_is_the_median_and_the_interquartile_range_over_it():
    of = figure("a", {("a", 1): [9.0, 10.0, 11.0, 1000.0], ("a", 2): [20.0], ("b", 1): [1.0]})
    assert of.value == 10.5
    assert of.threads == 1
    assert of.by_threads == {"1": 10.5, "2": 20.0}
    assert figure("b", {("b", 1): [4.0]}).spread == 0.0


def test_a_worker_answers_and_a_dead_or_silent_one_gives_its_reason():
    process = Process(1)
    build = {"row": "P22 fit", "side": "loops over lists", "threads": 1, "block": 0.001}
    assert process.ask(build=build)["version"].startswith("plain Python")
    assert all(value > 0 for value in process.ask(measure=0.001)["values"])
    assert process.ask(build=build | {"side": "nobody"}) == {"missing": "KeyError: 'nobody'"}
    process._process.kill()
    assert process.ask(measure=0.001) == {"missing": "its process ended with code -9"}
    process.close()
    assert not process.alive
    silent = Process(1, patience=0)
    assert silent.ask(build=build) == {"missing": "no answer in 0 seconds"}
    assert not silent.alive
    silent.close()


def test_the_table_of_rows_is_complete():
    import benchmarks.rows

    assert benchmarks.rows
    assert {each.number for each in ROWS.values()} == {f"P{number}" for number in [*range(1, 31), 44, 46, 47, 48]}
    for each in ROWS.values():
        sides = each.sides()
        assert "fastdl" in sides
        assert set(each.goals) <= set(sides)
        assert each.limit is not None or len(sides) > 1
