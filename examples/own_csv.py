"""A CSV file of your own: train on its rows, keep the model in a file, and predict new rows in their own unit."""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import fastdl
from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import EarlyStopping
from fastdl.metrics import root_mean_squared_error


def write_flats(path: Path, rows: int = 600) -> None:
    """Flats with a rent in francs: a stand-in for a table of yours."""
    rng = np.random.default_rng(0)
    area, rooms, age = rng.uniform(25, 160, rows), rng.integers(1, 7, rows), rng.uniform(0, 80, rows)
    rent = 400 + 14 * area + 90 * rooms - 0.06 * area * age + rng.normal(0, 60, rows)
    lines = [f"{a:.1f},{r},{y:.0f},{p:.0f}" for a, r, y, p in zip(area, rooms, age, rent, strict=True)]
    path.write_text("\n".join(["area,rooms,age,rent", *lines]) + "\n", encoding="utf-8")


def main(folder: Path) -> None:
    write_flats(folder / "flats.csv")
    flats = data.read_csv(folder / "flats.csv", target="rent")
    (x, y), (test_x, test_y) = data.split(flats.x, flats.y, 0.2, rng=0)
    inputs, targets = data.Standardize().fit(x), data.Standardize().fit(y)

    model = nn.Sequential(nn.Linear(3, 32, rng=1), nn.Tanh(), nn.Linear(32, 1, rng=2))
    trainer = Trainer(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.01))
    kept = data.split(inputs.transform(x), targets.transform(y), 0.2, rng=3)
    stopping = EarlyStopping("val_loss", patience=20)
    trainer.fit(*kept[0], epochs=300, batch_size=32, seed=4, validation_data=kept[1], callbacks=[stopping])

    rents = targets.inverse(trainer.predict(inputs.transform(test_x)))
    error = root_mean_squared_error(rents, test_y)
    print(
        f"best epoch {stopping.best_epoch}; test flats are off by {error:.0f} francs, the mean rent is {y.mean():.0f}"
    )

    path = folder / "rent.safetensors"
    assert flats.features is not None
    fastdl.save(model, path, scaling=inputs, target_scaling=targets, features=flats.features)

    # Another day, another program: the file alone is enough.
    (folder / "new.csv").write_text("age,area,rooms\n3,75,3\n60,75,3\n", encoding="utf-8")
    rent = fastdl.load(path)
    assert rent.scaling is not None
    assert rent.target_scaling is not None
    rows, _ = data.read_columns(folder / "new.csv", rent.features)
    rents = rent.target_scaling.inverse(rent.model.eval()(rent.scaling.transform(rows)))
    print("new flats:", ", ".join(f"{value:.0f} francs" for value in rents[:, 0]))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
