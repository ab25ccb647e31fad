"""A few rounds of the fuzz script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and timers of signals")
def test_some_rounds_find_nothing():
    command = [sys.executable, "-P", SCRIPT, "--seed", "0", "--rounds", "60"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "60 rounds, 0 findings\n"
