"""Train, be stopped in the middle, and go on later in another process: the same bits as without the stop."""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import Callback
from fastdl.checkpoint import write_atomically

EPOCHS = 12


class Keep(Callback):
    """Writes the trainer after each epoch: weights, the optimizer's state, schedule, history and generator."""

    def __init__(self, path: Path, stop_after: int | None = None) -> None:
        self.path, self.stop_after = path, stop_after

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        write_atomically(self.path, pickle.dumps(trainer))  # whole at any moment, a power cut included
        if len(trainer.history) == self.stop_after:
            raise KeyboardInterrupt  # stands for Ctrl-C, a queue's time limit, a power cut


def points() -> tuple[np.ndarray, np.ndarray]:
    x, y = data.disk(1000, rng=0)
    return data.standardize(x)[0], y


def new_trainer() -> Trainer:
    model = nn.Sequential(nn.Linear(2, 25, rng=1), nn.Tanh(), nn.Linear(25, 2, rng=2))
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    return Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=optim.CosineAnnealingLR(optimizer, EPOCHS))


def go_on(path: Path) -> None:
    """What another process does. Unpickle files of your own only: a pickle can run anything."""
    trainer = pickle.loads(path.read_bytes())
    done = len(trainer.history)
    trainer.fit(*points(), epochs=EPOCHS - done, batch_size=50, seed=trainer.rng, callbacks=[Keep(path)])
    print(f"went on after epoch {done}, to a loss of {trainer.history['loss'][-1]:.4f}")


def main(folder: Path) -> None:
    whole = new_trainer()
    whole.fit(*points(), epochs=EPOCHS, batch_size=50, seed=3)

    path = folder / "trainer.pickle"
    stopped = new_trainer().fit(*points(), epochs=EPOCHS, batch_size=50, seed=3, callbacks=[Keep(path, stop_after=5)])
    print(f"stopped after epoch {len(stopped)}, {stopped!r}")
    said = subprocess.run([sys.executable, __file__, path], check=True, capture_output=True, text=True).stdout
    print(said, end="")

    weights, wanted = pickle.loads(path.read_bytes()).model.state_dict(), whole.model.state_dict()
    assert all((weights[name] == wanted[name]).all() for name in wanted)
    print("the weights are those of a training that nobody stopped, to the bit")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        go_on(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
