"""The guides to checkpoints and callbacks run as they are written, each example in a fresh folder."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


def examples(name):
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name in ("checkpoints.md", "callbacks.md") for i in range(len(examples(name)))]
)
def test_every_example_runs_by_itself(name, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(examples(name)[number], {})


# Other work on the machine may hold the test up, but not for all of the epochs.
SLOWLY = """
import time
from fastdl.callbacks import ModelCheckpoint
save = ModelCheckpoint.on_checkpoint
def save_slowly(*arguments):
    save(*arguments)
    time.sleep(0.2)
ModelCheckpoint.on_checkpoint = save_slowly
"""


def test_the_script_goes_on_after_a_kill_and_after_ctrl_c_as_if_never_stopped(tmp_path):
    def start(folder, before=""):
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(before + examples("checkpoints.md")[0])
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "train.py"], cwd=folder, stdout=pipe, stderr=pipe, text=True, env=environment
        )

    whole, errors = start(tmp_path / "whole").communicate(timeout=600)
    assert errors == ""
    assert re.fullmatch(r"100 epochs, loss 0\.\d{6}\n", whole)
    for number in (signal.SIGKILL, signal.SIGINT):
        folder = tmp_path / number.name
        process = start(folder, SLOWLY)
        while not (folder / "state.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(number)
        process.communicate(timeout=600)
        resumed, errors = start(folder).communicate(timeout=600)
        assert errors == ""
        begin, end = resumed.splitlines()
        assert 1 <= int(begin.removeprefix("go on after epoch ")) < 100
        assert end + "\n" == whole


@pytest.mark.parametrize("name", ["checkpoints.md", "callbacks.md"])
def test_a_guide_names_nothing_that_is_not_there(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    for page in re.findall(r"\]\(([a-z_]+\.md)\)", text):
        assert (DOCS / page).exists()
    for module in re.findall(r"^from (fastdl[\w.]*) import", text, re.MULTILINE):
        assert importlib.util.find_spec(module)
