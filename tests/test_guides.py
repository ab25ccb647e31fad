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

DOCS = Path(__file__).parent.parent / "docs"


def examples(name):
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name in ("checkpoints.md", "callbacks.md") for i in range(len(examples(name)))]
)
def test_every_example_runs_by_itself(name, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(examples(name)[number], {})


def test_the_script_goes_on_after_a_kill_and_after_ctrl_c_as_if_never_stopped(tmp_path):
    def start(folder):
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(examples("checkpoints.md")[0])
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "train.py"], cwd=folder, stdout=pipe, stderr=pipe, text=True, env=environment
        )

    whole, errors = start(tmp_path / "whole").communicate(timeout=600)
    assert errors == ""
    assert re.fullmatch(r"100 epochs, loss 0\.\d{6}\n", whole)
    for number in (signal.SIGKILL, signal.SIGINT):
        for attempt in range(20):  # where other work holds this process up, the script may come to its end before
            folder = tmp_path / f"{number.name}-{attempt}"
            process = start(folder)
            while not (folder / "state.safetensors").exists():
                assert process.poll() is None or (folder / "state.safetensors").exists()
                time.sleep(0.001)
            process.send_signal(number)
            process.communicate(timeout=600)
            resumed, errors = start(folder).communicate(timeout=600)
            assert errors == ""
            begin, end = resumed.splitlines()
            assert end + "\n" == whole
            if (stopped := int(begin.removeprefix("go on after epoch "))) < 100:
                break
        assert 1 <= stopped < 100


@pytest.mark.parametrize("name", ["checkpoints.md", "callbacks.md"])
def test_a_guide_names_nothing_that_is_not_there(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    for page in re.findall(r"\]\(([a-z_]+\.md)\)", text):
        assert (DOCS / page).exists()
    for module in re.findall(r"^from (fastdl[\w.]*) import", text, re.MULTILINE):
        assert importlib.util.find_spec(module)
