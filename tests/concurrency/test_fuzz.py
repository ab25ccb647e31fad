"""A few rounds of the fuzz script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and timers of signals")
@pytest.mark.parametrize("rounds", [15, pytest.param(60, marks=pytest.mark.slow)])
def test_some_rounds_find_nothing(rounds):
    command = [sys.executable, "-P", SCRIPT, "--seed", "0", "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{rounds} rounds, 0 findings\n"
