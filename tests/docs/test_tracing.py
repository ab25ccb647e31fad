"""The page of what tracing can and cannot do: its errors are raised as they are printed, and what is written instead runs."""

import re
from pathlib import Path

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

PAGE = Path(__file__).parent.parent.parent / "docs" / "tracing.md"


def message_of(code):
    """The error or the warning of a `forward`, called and differentiated, or of a `criterion`, trained on; None where is none."""
    names = {
        "np": np,
        "nn": nn,
        "fastdl": fastdl,
        "teacher": nn.Linear(3, 3, rng=0),
        "example": np.ones((4, 3), np.float32),
    }
    exec(compile(code, "net.py", "exec"), names)

    class Net(nn.Module):
        def __init__(self):
            self.weight, self.mean = nn.Parameter(np.ones(3, np.float32)), nn.Buffer(np.zeros(3, np.float32))
            self.table = nn.Buffer(np.eye(3, dtype=np.float32))
            if "self.wide" in code:
                self.wide = nn.Parameter(np.ones(3))

        forward = names.get("forward", lambda self, x: x * self.weight)

    x, model = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), Net()
    try:
        if "criterion" in names:
            trainer = Trainer(model, names["criterion"], optim.SGD(model.parameters(), lr=0.1))
            trainer.fit(x, x, epochs=1, batch_size=2)
        else:
            y, pull = model.vjp(x)
            pull({name: np.ones_like(each) for name, each in y.items()} if isinstance(y, dict) else np.ones_like(y))
    except (TypeError, ValueError, UserWarning) as error:
        return str(error)
    return None


def sections():
    """Of each, code, error and what is written instead, or None."""
    found = []
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    for part in page.split("\n## ")[1:]:
        blocks = re.findall(r"```(?:py|text)\n(.*?)```", part, re.DOTALL)
        instead = blocks[2] if len(blocks) > 2 else None
        found.append(pytest.param(blocks[0], blocks[1], instead, id=part.partition("\n")[0]))
    return found


@pytest.mark.parametrize(("code", "error", "instead"), sections())
def test_errors_and_ways_out(code, error, instead):
    assert message_of(code) == " ".join(error.split())
    if instead is not None:
        assert message_of(instead) is None
