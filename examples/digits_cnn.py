"""A convolutional network that reads scikit-learn's handwritten digits (pip install ".[sklearn]", see docs/install.md)."""

import argparse

import numpy as np

from fastdl import Trainer, data, nn, optim
from fastdl.metrics import accuracy, confusion_matrix


def block(channels: int, filters: int, rng: int) -> list[nn.Module]:
    """A convolution that keeps the image's size, normalized and bent."""
    return [nn.Conv2d(channels, filters, 3, padding=1, rng=rng), nn.BatchNorm2d(filters), nn.ReLU()]


def main(epochs: int = 10) -> None:
    (images, labels), (test_images, test_labels) = data.split(*data.digits(), 0.2, rng=0)
    scaling = data.Standardize().fit(images, per="channel")
    x, test_x = scaling.transform(images), scaling.transform(test_images)

    model = nn.Sequential(
        *block(1, 32, rng=1),
        *block(32, 64, rng=2),
        *(nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten()),
        *(nn.Linear(1024, 128, rng=3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10, rng=4)),
    )
    print(model.summary((1, 8, 8)))
    optimizer = optim.AdamW(model.parameters(), lr=0.002)
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        schedule=optim.CosineAnnealingLR(optimizer, epochs, warmup=1),
        metrics=[accuracy],
    )
    # Digits moved by a pixel are the same digits: shifted anew in each epoch.
    history = trainer.fit(x, labels, epochs=epochs, batch_size=64, seed=5, augment=data.Shift(1))
    print(f"{history.engine.partition(':')[0]} engine, {sum(history['seconds']):.1f} s")
    print(f"test accuracy {trainer.evaluate(test_x, test_labels)['accuracy']:.3f}")

    counts = confusion_matrix(trainer.predict(test_x), test_labels)
    np.fill_diagonal(counts, 0)
    digit, taken_for = np.unravel_index(counts.argmax(), counts.shape)
    print(f"most often confused: {digit} taken for {taken_for}, {counts.max()} times")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    main(**vars(parser.parse_args()))
