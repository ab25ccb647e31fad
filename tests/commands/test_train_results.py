"""Where `fastdl train` writes: no run overwrites an older one's results without --overwrite."""

import re

import pytest

from fastdl.commands import results
from fastdl.serialization.model_file import load
from fastdl.training import Trainer

SHORT = ["--epochs", "1"]
ENDINGS = (".safetensors", "-history.csv")


@pytest.fixture
def here(tmp_path, monkeypatch, no_picture):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(run, monkeypatch):
    """Train without an --out of the fixture."""
    from fastdl import cli

    return lambda *words: cli.main(["train", *SHORT, *map(str, words)])


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_run_in_the_default_folder_is_numbered(train, here, capsys):
    found = {}
    for seed, name in enumerate(("disk", "disk-2", "disk-3")):
        assert train("--seed", seed) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert f"weights: fastdl-out/{name}.safetensors\nhistory: fastdl-out/{name}-history.csv\n" in out
        now = content(here / "fastdl-out")
        assert now.keys() - found.keys() == {name + ending for ending in ENDINGS}
        assert found.items() <= now.items()
        found = now
    assert found["disk.safetensors"] != found["disk-2.safetensors"]


def test_other_data_do_not_need_a_number(train, here, flowers):
    train()
    train("--data", flowers)
    assert {f"{name}{ending}" for name in ("disk", "flowers") for ending in ENDINGS} == content(
        here / "fastdl-out"
    ).keys()


@pytest.mark.parametrize("left", ["disk.safetensors", "disk-history.csv", "disk.png"])
def test_any_file_of_an_older_run_counts(train, here, left):
    (here / "fastdl-out").mkdir()
    (here / "fastdl-out" / left).write_text("older")
    train()
    assert content(here / "fastdl-out").keys() == {left, "disk-2.safetensors", "disk-2-history.csv"}
    assert (here / "fastdl-out" / left).read_text() == "older"


@pytest.mark.parametrize("left", ["disk.safetensors", "disk-history.csv", "disk.png"])
def test_a_link_to_results_that_are_not_there_counts_too(train, here, left):
    folder, target = here / "fastdl-out", here / "moved"
    folder.mkdir()
    (folder / left).symlink_to(target)
    train()
    assert {path.name for path in folder.iterdir()} == {left, "disk-2.safetensors", "disk-2-history.csv"}
    assert not target.exists()


def test_a_name_that_another_run_takes_at_the_last_moment_is_left_to_it(train, here, monkeypatch):
    look, weights = results.Results._taken, here / "fastdl-out" / "disk.safetensors"

    def look_before_the_other_writes(self, name):
        found = look(self, name)
        if weights.parent.exists() and not weights.exists():
            weights.write_text("of the other")
        return found

    monkeypatch.setattr(results.Results, "_taken", look_before_the_other_writes)
    train()
    assert content(weights.parent).keys() == {weights.name, "disk-2.safetensors", "disk-2-history.csv"}
    assert weights.read_text() == "of the other"


@pytest.mark.parametrize("left", ["disk.safetensors", "disk-history.csv", "disk.png"])
def test_a_folder_that_was_asked_for_and_has_results_is_refused_before_training(train, here, capsys, monkeypatch, left):
    (here / left).write_text("older")
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained"))
    assert train("--out", here) == 2
    out, err = capsys.readouterr()
    assert out == ""
    message = f"got one with {re.escape(left)}; write --overwrite to replace them, or name another folder"
    assert re.fullmatch(f"fastdl: --out .*: expected a folder without results of disk, {message}; .*\n", err)
    assert content(here) == {left: b"older"}


def test_overwrite_replaces_them_and_a_picture_of_older_weights_goes(train, here):
    train("--out", here, "--seed", "1")
    (here / "disk.png").write_text("of the older weights")
    (here / "mine.txt").write_text("mine")
    before = content(here)
    assert train("--out", here, "--overwrite") == 0
    after = content(here)
    assert after.keys() == {"disk.safetensors", "disk-history.csv", "mine.txt"}
    assert after["disk.safetensors"] != before["disk.safetensors"]


def test_overwrite_holds_in_the_default_folder_too(train, here):
    for _ in range(2):
        assert train("--overwrite") == 0
    assert len(content(here / "fastdl-out")) == 2


def test_a_folder_of_a_results_name_is_refused_before_training(train, here, capsys, monkeypatch):
    (here / "disk.safetensors").mkdir()
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("trained"))
    assert train("--out", here, "--overwrite") == 2
    assert "disk.safetensors: expected the name of a file, got a folder" in capsys.readouterr().err


def test_a_name_that_another_run_took_meanwhile_is_numbered_not_lost(train, here, monkeypatch):
    fit = Trainer.fit

    def slow(*arguments, **options):
        (here / "disk.safetensors").write_text("another's")
        return fit(*arguments, **options)

    monkeypatch.setattr(Trainer, "fit", slow)
    assert train("--out", here) == 0
    assert (here / "disk.safetensors").read_text() == "another's"
    load(here / "disk-2.safetensors")


def test_two_runs_that_end_together_have_two_names(here):
    first, second = (results.Results(None, "disk", False) for _ in range(2))
    with first.writable(), second.writable():
        assert (first._claimed(), second._claimed()) == ("disk", "disk-2")


def test_a_run_that_cannot_be_saved_leaves_no_empty_file(train, here, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "disk.safetensors")

    monkeypatch.setattr(results, "save", full)
    assert train() == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list(here.iterdir()) == []
