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
    return Row(name, f"work of {name}", lambda: sides, {"peer": 2.0}, {}, None, "us")


class Played:
    """In a process's place: its answers follow from who asks, and what happens is written down."""

    diary: ClassVar[list[str]] = []
    broken: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, threads: int) -> None:
        self.threads, self.alive, self.name = threads, True, ""
        self.diary.append(f"start {threads}")

    def ask(self, **message: Any) -> dict[str, Any]:
        self.send(**message)
        return self.receive()

    def send(self, **message: Any) -> None:
        self.message = message
        if "build" in message:
            self.name = message["build"]["side"]

    def receive(self) -> dict[str, Any]:
        doing = next(iter(self.message))
        self.diary.append(f"{doing} {self.name} {self.threads}")
        if doing in self.broken.get(self.name, {}):
            return {"missing": self.broken[self.name][doing]}
        value = {"fastdl": 10.0}.get(self.name, 30.0) / self.threads
        return {"version": f"{self.name} 1"} if doing == "build" else {"values": [value, value, value]}

    def close(self) -> None:
        self.diary.append(f"close {self.name} {self.threads}")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> type[Played]:
    monkeypatch.setattr(interleave, "Process", Played)
    Played.diary, Played.broken = [], {}
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


def test_every_side_and_number_of_threads_has_a_process_of_its_own():
    found = keys(row("P1", fastdl=side("fastdl", "fit"), again=side("fastdl", "loop", threads=(1,))))
    assert found == {("fastdl", 1): ("fastdl", 1, 0), ("fastdl", 2): ("fastdl", 2, 0), ("again", 1): ("fastdl", 1, 1)}


def test_a_fresh_sides_process_is_shared_with_no_row():
    first, second = (keys(row(name, fastdl=side("fastdl", "memory", threads=(2,), fresh=True))) for name in "ab")
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
    assert {each.number for each in ROWS.values()} == {f"P{number}" for number in [*range(1, 27), 47]}
    for each in ROWS.values():
        sides = each.sides()
        assert "fastdl" in sides
        assert set(each.goals) <= set(sides)
        assert set(each.floors) <= set(each.goals)
        assert each.limit is not None or len(sides) > 1
