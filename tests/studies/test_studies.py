"""The runner of the studies: what is kept and resumed, what is refused, and what the reports hold."""

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastdl
from fastdl import cli, studies
from fastdl.studies import pytorch, report
from fastdl.studies import run as runner
from fastdl.studies.results import Results, Spread, verdict
from fastdl.studies.store import Store, key
from fastdl.studies.study import Figure, Finding, Settings, Study
from fastdl.studies.sweep import sweep

ERROR = "error [%]"


class Toy(Study):
    """Errors that are drawn, around ten times the rate."""

    name, summary, source, paper, setup = "toy", "a toy", "Nowhere", "It finds nothing.", "Numbers are drawn."
    full = Settings(runs=4, epochs=5, rates=(0.1, 0.5))
    quick = Settings(runs=2)
    figures = (
        Figure(ERROR, 1.0, "Table I", {"rate": 0.1}, rounding=0.5),
        Figure(ERROR, 1.0, "Table I", {"rate": 0.5}, rounding=0.5),
        Figure(ERROR, 7.0, "Table II", {"rate": 0.1, "framework": "PyTorch"}),
    )
    measured, stop_after = 0, None

    def cases(self):
        return [{"rate": rate, "framework": f} for rate in self.settings.rates for f in ("fastdl", "PyTorch")]

    def measure(self, case, rng):
        if self.measured == self.stop_after:
            raise KeyboardInterrupt
        self.measured += 1
        error = 10 * case["rate"] + rng.normal(0, 0.1)
        return {ERROR: error, "loss": [1.0, error]}

    def findings(self, results):
        low, high = (results.one(ERROR, rate=rate).mean for rate in (0.1, 0.5))
        return [Finding("A higher rate is worse", high > low, f"{low:.0f} and {high:.0f}")]


def run(study, folder, processes=1):
    """In this process: others cannot import a study of this file."""
    return runner.run(study, folder, processes)


@pytest.fixture(autouse=True)
def without_pytorch(monkeypatch):
    monkeypatch.setattr(pytorch, "installed", lambda: False)


def test_a_second_start_goes_on_from_what_an_interrupt_left(tmp_path):
    study = Toy()
    study.stop_after = 3
    with pytest.raises(KeyboardInterrupt, match=r"interrupted after 3 of 8 runs of toy, kept in .*; the same command"):
        run(study, tmp_path)
    assert not (tmp_path / "toy.md").exists()
    again = Toy()
    results = run(again, tmp_path)
    assert again.measured == 5
    whole = run(Toy(), tmp_path / ".." / tmp_path.name)
    for case in results.cases:
        np.testing.assert_array_equal(results.values(ERROR, case), whole.values(ERROR, case))
    third = Toy()
    run(third, tmp_path)
    assert third.measured == 0


def test_a_line_that_was_cut_off_is_measured_again(tmp_path):
    run(Toy(), tmp_path)
    path = tmp_path / "toy.runs.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    again = Toy()
    run(again, tmp_path)
    assert again.measured == 1
    third = Toy()
    run(third, tmp_path)
    assert third.measured == 0
    assert len(path.read_text().splitlines()) == 9
    path.write_bytes(path.read_bytes()[:20])  # the first line is cut off
    again = Toy()
    run(again, tmp_path)
    assert again.measured == 8


def test_runs_differ_and_cases_of_a_run_draw_the_same(tmp_path):
    results = run(Toy(), tmp_path)
    low, high = (results.values(ERROR, results.case(rate=rate)) for rate in (0.1, 0.5))
    assert len(set(low)) == 4
    np.testing.assert_allclose(high - low, 4)


def test_seeds_give_other_runs(tmp_path):
    first, other = (Results(Toy().cases()[:1], _done(Toy(seed=seed), tmp_path / str(seed))) for seed in (0, 1))
    case = first.cases[0]
    assert not set(first.values(ERROR, case)) & set(other.values(ERROR, case))


def _done(study, folder):
    folder.mkdir()
    run(study, folder)
    return Store(folder, study).done


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Toy(runs=3), "expected results with runs 3, got a folder of those with 4"),
        (Toy(epochs=1), "expected results with epochs 1, got a folder of those with 5"),
        (Toy(seed=1), "expected results with seed 1, got a folder of those with 0"),
    ],
)
def test_a_folder_of_other_settings_is_refused(tmp_path, other, words):
    run(Toy(), tmp_path)
    with pytest.raises(ValueError, match=words):
        run(other, tmp_path)
    assert other.measured == 0


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "toy.runs.jsonl").write_text("rate,error\n0.1,2\n")
    with pytest.raises(ValueError, match=r"toy.runs.jsonl: expected the runs of a study"):
        run(Toy(), tmp_path)


def test_processes_come_to_the_same_bits_as_one(tmp_path):
    study = studies.find("initialization")(quick=True, runs=2, epochs=2)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder, processes in ((alone, 1), (shared, 2)):
        folder.mkdir()
        run(study, folder, processes)
    assert (alone / "initialization.csv").read_bytes() == (shared / "initialization.csv").read_bytes()


def test_an_error_in_a_process_is_raised_and_finished_runs_are_kept(tmp_path):
    study = studies.find("momentum")(quick=True, runs=2, epochs=2)
    study.settings.batch = 0
    store = Store(tmp_path, study)
    with pytest.raises(ValueError, match="batch_size"):
        sweep(study, store, 2)


def test_ctrl_c_ends_the_processes_and_keeps_runs(tmp_path):
    command = [
        sys.executable,
        "-P",
        "-m",
        "fastdl",
        "study",
        "disk-sgd",
        "--runs",
        "10",
        "--epochs",
        "100",
        "--out",
        str(tmp_path),
    ]
    path = tmp_path / "disk-sgd.runs.jsonl"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 600
        while not (path.exists() and path.read_bytes().count(b"\n") > 3) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=600)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.count("\n") == 1
    kept = path.read_bytes().count(b"\n") - 1
    assert f"interrupted after {kept} of " in errors


def test_ctrl_c_while_processes_start_leaves_none(tmp_path, monkeypatch):
    """It is held back while they start, and raised when the mask is lifted."""
    mask, others = signal.pthread_sigmask, set(multiprocessing.active_children())  # of other tests

    def own():
        return set(multiprocessing.active_children()) - others

    def interrupted(how, signals):
        before = mask(how, signals)
        if how == signal.SIG_SETMASK and own():
            raise KeyboardInterrupt
        return before

    monkeypatch.setattr(signal, "pthread_sigmask", interrupted)
    study = studies.find("momentum")(runs=5, epochs=2000)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 0 of 200 runs"):
        sweep(study, Store(tmp_path, study), 2)
    for child in own():
        child.join(600)
    assert not own()


def test_ctrl_c_between_two_runs_leaves_no_process(tmp_path, monkeypatch):
    others = set(multiprocessing.active_children())

    def keep(self, case, run, found):
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "keep", keep)
    study = studies.find("momentum")(runs=5, epochs=2000)
    with pytest.raises(KeyboardInterrupt) as caught:  # whose traceback holds on to what ran
        sweep(study, Store(tmp_path, study), 2)
    assert caught.value
    assert set(multiprocessing.active_children()) <= others


def test_the_report_sets_the_paper_beside_ours(tmp_path):
    run(Toy(), tmp_path)
    text = (tmp_path / "toy.md").read_text()
    head, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["rate", "error [%]", "error [%], paper"]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert [(c[0], c[2]) for c in cells] == [("0.1", "1"), ("0.5", "1")]
    assert "error [%] (rate 0.1): " in text
    assert text.count(": reached.") == 1
    assert text.count(": not reached.") == 1
    assert "A higher rate is worse: this holds here (1 and 5)." in text
    assert "PyTorch is not installed" in text


def test_other_settings_than_the_papers_are_said_and_not_judged(tmp_path):
    run(Toy(epochs=1), tmp_path)
    text = (tmp_path / "toy.md").read_text()
    assert "not the paper's settings:** epochs 1 (the paper: 5)" in text
    assert "reached." not in text


def test_a_number_that_is_not_finite_is_null_in_the_json(tmp_path):
    class Diverging(Toy):
        def measure(self, case, rng):
            return {ERROR: float("inf" if case["rate"] == 0.5 else "nan")}

    run(Diverging(), tmp_path)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    record = json.loads((tmp_path / "toy.json").read_text(), parse_constant=refuse)
    assert {result["mean"] for result in record["results"]} == {None}


def test_markdown_csv_and_json_show_the_same(tmp_path):
    results = run(Toy(), tmp_path)
    record = json.loads((tmp_path / "toy.json").read_text())
    with (tmp_path / "toy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(record["results"]) == len(rows) == 2
    for written, row, case in zip(record["results"], rows, results.cases, strict=True):
        mean, deviation, runs = results.of(ERROR, case)
        assert (written["mean"], written["deviation"], written["runs"], written["paper"]) == (
            mean,
            deviation,
            runs,
            1.0,
        )
        assert (float(row["mean"]), float(row["deviation"]), int(row["runs"])) == (mean, deviation, 4)
    assert record["findings"] == [{"claim": "A higher rate is worse", "holds": True, "numbers": "1 and 5"}]
    assert [figure["verdict"] for figure in record["figures"]] == ["reached", "not reached"]
    assert record["settings"]["rates"] == [0.1, 0.5]


def test_pytorchs_columns_stand_beside_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(pytorch, "installed", lambda: True)
    study = Toy()
    store = Store(tmp_path, study)
    sweep(study, store, 1)
    head = report.table(study, Results(study.cases(), store.done)).head
    assert head[1:] == [f"{ERROR}, {side}" for side in ("fastdl", "paper", "PyTorch", "paper's PyTorch")]


def test_mean_and_deviation_are_those_of_the_runs():
    case = {"rate": 1.0}
    results = Results([case], {(key(case), i): {ERROR: value} for i, value in enumerate([1.0, 2.0, 6.0])})
    assert results.one(ERROR) == Spread(3.0, pytest.approx(np.std([1, 2, 6], ddof=1)), 3)


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ([1.0, 1.2], "lower", "reached"),
        ([1.0, 1.2], "higher", "not reached"),
        ([3.0, 3.2], "higher", "reached"),
        ([2.1, 1.96], "lower", "reached"),
        ([2.0, 40.0, 41.0, 42.0, 40.0], "lower", "reached by some runs"),
        ([30.0, 1.0, 31.0, 30.0, 31.0], None, "reached by some runs"),
        ([5.0, 90.0], "lower", "not reached"),
        ([1.0, 1.2], None, "not reached"),
    ],
)
def test_a_figure_is_reached_by_the_mean_by_some_runs_or_not(values, better, expected):
    assert verdict(np.array(values), Figure(ERROR, 2.0, "Table I", rounding=0.05, better=better)) == expected


def test_a_study_without_a_setting_refuses_it():
    with pytest.raises(ValueError, match="toy: expected no --folds"):
        Toy(folds=3)


def test_a_study_that_needs_scikit_learn_is_refused_without_it_before_anything_runs(tmp_path, monkeypatch):
    study = Toy()
    study.needs_sklearn = True
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'toy: needs scikit-learn; write pip install "\.\[sklearn\]"'):
        run(study, tmp_path)
    assert study.measured == 0
    assert not list(tmp_path.iterdir())


def test_runs_that_are_not_timed_have_one_thread_and_leave_the_setting_alone(tmp_path):
    class Threads(Toy):
        def measure(self, case, rng):
            return {ERROR: float(fastdl.get_num_threads())}

    before = fastdl.get_num_threads()
    fastdl.set_num_threads(2)
    try:
        study = Threads()
        store = Store(tmp_path, study)
        sweep(study, store, 1)
        assert fastdl.get_num_threads() == 2
    finally:
        fastdl.set_num_threads(before)
    assert {measured[ERROR] for measured in store.done.values()} == {1.0}


@pytest.mark.parametrize("name", studies.NAMES)
def test_every_study_is_there_and_says_what_it_is(name):
    study = studies.find(name)()
    assert study.name == name
    assert study.summary
    assert study.paper
    assert study.setup
    assert set(vars(study.quick)) <= set(vars(study.full))
    assert any(case.get("framework", "fastdl") == "fastdl" for case in study.cases())
    for figure in study.figures:
        assert any(figure.fits(case) for case in study.cases()), figure


def test_nothing_of_the_studies_is_imported_by_fastdl():
    code = "import sys, fastdl; sys.exit(any(name.startswith('fastdl.studies') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


class TestCommand:
    def one_line(self, capsys, *words):
        assert cli.main(["study", *map(str, words)]) == 2
        streams = capsys.readouterr()
        assert streams.out == ""
        assert streams.err.startswith("fastdl: ")
        assert streams.err.count("\n") == 1
        return streams.err

    def test_it_lists_the_studies(self, capsys):
        assert cli.main(["study"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == list(studies.NAMES)

    @pytest.mark.parametrize(("name", "nearest"), [("momentm", "momentum"), ("DISK_SGD", "disk-sgd")])
    def test_an_unknown_name_is_refused_with_the_nearest(self, capsys, name, nearest):
        assert f"the nearest is {nearest}" in self.one_line(capsys, name)

    @pytest.mark.parametrize("options", [("--runs", 0), ("--epochs", -1), ("--epochs", 1.5), ("--seed", "x")])
    def test_impossible_options_are_refused(self, capsys, options):
        assert "expected a whole number" in self.one_line(capsys, "momentum", *options)

    def test_options_without_a_study_are_refused(self, capsys):
        assert "--quick: expected a study's name" in self.one_line(capsys, "--quick")

    def test_a_folder_of_another_study_is_refused_before_anything_runs(self, capsys, tmp_path):
        run(Toy(), tmp_path)
        before = sorted(tmp_path.iterdir())
        assert "got one with results of toy" in self.one_line(capsys, "momentum", "--out", tmp_path)
        assert sorted(tmp_path.iterdir()) == before

    def test_all_is_refused_as_a_whole_before_anything_runs(self, capsys, tmp_path):
        pytest.importorskip("sklearn", reason="without it, all are refused for the study that needs it")
        folder = tmp_path / studies.NAMES[-1]
        folder.mkdir()
        run(Toy(), folder)
        assert "results of toy" in self.one_line(capsys, "all", "--quick", "--out", tmp_path)
        assert not list(tmp_path.glob(f"{studies.NAMES[0]}/*"))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
    def test_an_unwritable_folder_is_refused(self, capsys, tmp_path):
        tmp_path.chmod(0o500)
        assert "cannot be written to" in self.one_line(capsys, "momentum", "--out", tmp_path)

    def test_a_file_in_the_folders_place_is_refused(self, capsys, tmp_path):
        (tmp_path / "taken").write_text("")
        assert "cannot be written to" in self.one_line(capsys, "momentum", "--out", tmp_path / "taken")

    def test_all_writes_a_folder_for_each_and_one_report(self, capsys, tmp_path, monkeypatch):
        monkeypatch.setattr(studies, "NAMES", ("initialization", "momentum"))
        out = tmp_path / "papers"
        assert cli.main(["study", "all", "--quick", "--runs", "1", "--epochs", "1", "--out", str(out)]) == 0
        text = (tmp_path / "papers.md").read_text()
        assert text.index("## initialization: ") < text.index("## momentum: ")
        assert (out / "momentum" / "momentum.json").exists()
        if "![" in text:
            assert "](papers/momentum/momentum.png)" in text
            assert (out / "momentum" / "momentum.png").read_bytes().startswith(b"\x89PNG")
