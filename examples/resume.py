"""Train, be stopped in the middle, and go on later in another process: the same bits as without the stop."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import fastdl
from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import Callback, ModelCheckpoint

EPOCHS = 12


class Stop(Callback):
    """Stands for whatever stops a program: Ctrl-C, a queue's time limit, a power cut."""

    def on_epoch_begin(self, trainer: Trainer, epoch: int) -> None:
        if epoch == 6:
            raise KeyboardInterrupt


def points() -> tuple[np.ndarray, np.ndarray]:
    x, y = data.disk(1000, rng=0)
    return data.standardize(x)[0], y


def new_trainer() -> Trainer:
    model = nn.Sequential(nn.Linear(2, 25, rng=1), nn.Tanh(), nn.Dropout(0.1), nn.Linear(25, 2, rng=2))
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    return Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=optim.CosineAnnealingLR(optimizer, EPOCHS))


def go_on(path: Path) -> None:
    """What another process does: the same trainer, its state from the file, the same data."""
    trainer = new_trainer()
    trainer.load(path)
    done = len(trainer.history)
    trainer.fit(*points(), epochs=EPOCHS, batch_size=50, resume=True, callbacks=[ModelCheckpoint(path)])
    print(f"went on after epoch {done}, to a loss of {trainer.history['loss'][-1]:.4f}")


def main(folder: Path) -> None:
    whole = new_trainer()
    whole.fit(*points(), epochs=EPOCHS, batch_size=50, seed=3)

    path = folder / "run.safetensors"
    callbacks = [ModelCheckpoint(path), Stop()]  # the state after each epoch, replaced as a whole
    stopped = new_trainer().fit(*points(), epochs=EPOCHS, batch_size=50, seed=3, callbacks=callbacks)
    print(f"stopped after epoch {len(stopped)}, {stopped!r}")
    said = subprocess.run([sys.executable, __file__, path], check=True, capture_output=True, text=True).stdout
    print(said, end="")

    weights, wanted = fastdl.load(path).model.state_dict(), whole.model.state_dict()
    assert all((weights[name] == wanted[name]).all() for name in wanted)
    print("the weights are those of a training that nobody stopped, to the bit")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path, nargs="?", help="go on from this file")
    if state := parser.parse_args().state:
        go_on(state)
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
