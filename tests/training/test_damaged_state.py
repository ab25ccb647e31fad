"""Training states with bytes changed, entries moved and words that lie: each is taken over whole or refused in one sentence.

The test changes 500 files, or 15,000 where slow tests are run; `python tests/training/test_damaged_state.py 100000` any number.
"""

import copy
import json
import struct
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import EarlyStopping, LearningRateLog, ModelCheckpoint

X, Y = data.disk(30, rng=0)
WORDS = (
    *(None, True, False, 0, 1, -1, 2, 3, 624, 625, 2**31, 2**32, 2**53, 2**63, 2**64, 2**128, -(2**63), 10**400),
    *(0.0, -0.0, 0.5, 1.5, -0.5, 1e308, 1e-320, float("nan"), float("inf"), "", "Adam", "nan", "\ud800", "0.weight"),
    *([], {}, [[]], [0], [None] * 4, {"$float": "nan"}, {"$float": "inf"}, {"$float": 1}, {"$array": "0.weight"}),
    *({"$array": "training/optimizer/state/0/exp_avg"}, {"": 1}, "F64", "I64", "BF16", "Linear(2, 99999999)", "ReLU"),
)
MOST = 400  # bytes of memory for one of the file: JSON becomes objects, an entry is held and copied into its place


def callbacks():
    return EarlyStopping("loss", patience=3), LearningRateLog(), ModelCheckpoint("none", monitor="loss")


def trainer_of():
    layers = [nn.Linear(2, 3, rng=1), nn.BatchNorm1d(3), nn.Dropout(0.1), nn.ReLU(), nn.Linear(3, 2, rng=2)]
    model = nn.Sequential(*layers)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0)
    return Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule)


class Files:
    """Whole files, and what is done to them."""

    def __init__(self, folder, seed):
        self.rng = np.random.default_rng(seed)
        self.path = folder / "state.safetensors"
        self.trainer = self.before = None
        self.good = []
        for bits in ("PCG64", "MT19937"):
            rng = np.random.Generator(getattr(np.random, bits)(0))
            mine = (
                *callbacks()[:2],
                ModelCheckpoint(folder / "whole"),
                ModelCheckpoint(folder / "best", monitor="loss"),
            )
            trainer_of().fit(X, Y, epochs=2, batch_size=10, seed=rng, callbacks=mine)
            self.good.append((folder / "whole").read_bytes())

    def damaged(self):
        """A file with one thing changed, or two."""
        content = self.good[self.rng.random() < 0.1]
        for _ in range(1 + (self.rng.random() < 0.3)):
            change = self.rng.choice(
                [self.bytes_changed, self.cut, self.header_changed, self.words_changed], p=[0.2, 0.05, 0.25, 0.5]
            )
            content = change(content)
        return content

    def bytes_changed(self, content):
        content = bytearray(content)
        for _ in range(self.rng.integers(1, 5)):
            # Half of them where the header is, which decides.
            end = len(content) if self.rng.random() < 0.5 else min(len(content), 4000)
            if end:
                content[self.rng.integers(end)] = self.rng.integers(256)
        return bytes(content)

    def cut(self, content):
        start, stop = sorted(self.rng.integers(0, len(content) + 1, 2))
        kind = self.rng.integers(4)
        if kind == 0:
            return content[:start]
        if kind == 1:
            return content[:start] + content[stop:]
        if kind == 2:
            return content[:stop] + content[start:]
        return content + self.rng.bytes(self.rng.integers(1, 50))

    def header_changed(self, content):
        """Another name, shape, dtype or place of an entry, in JSON that is valid."""
        try:
            (size,) = struct.unpack("<Q", content[:8])
            header = json.loads(content[8 : 8 + size])
            self.change_in(header, 4)
            text = json.dumps(header).encode()
        except (ValueError, struct.error, RecursionError, OverflowError, MemoryError):
            return content
        return struct.pack("<Q", len(text)) + text + content[8 + size :]

    def words_changed(self, content):
        """Another word in what fastdl wrote into the metadata."""
        try:
            (size,) = struct.unpack("<Q", content[:8])
            header = json.loads(content[8 : 8 + size])
            words = json.loads(header["__metadata__"]["fastdl"])
            self.change_in(words, 8)
            header["__metadata__"]["fastdl"] = json.dumps(words)
            text = json.dumps(header).encode()
        except (ValueError, struct.error, RecursionError, OverflowError, MemoryError, KeyError, TypeError):
            return content
        return struct.pack("<Q", len(text)) + text + content[8 + size :]

    def change_in(self, tree, deepest):
        """Go down a random way and change what is there."""
        for _ in range(deepest):
            keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
            if not keys:
                return
            key = keys[self.rng.integers(len(keys))]
            if isinstance(tree[key], (dict, list)) and len(tree[key]) and self.rng.random() < 0.9:
                tree = tree[key]
                continue
            break
        else:
            return
        kind = self.rng.integers(6)
        if kind == 0:
            del tree[key]
        elif kind == 1 and isinstance(tree, dict):
            tree[f"{key}x"] = tree.pop(key)
        elif kind == 2:
            tree[key] = copy.deepcopy(tree[keys[self.rng.integers(len(keys))]])
        elif kind == 3:
            nested = tree[key]
            for _ in range(self.rng.choice([1, 2, 40, 900])):
                nested = [nested]
            tree[key] = nested
        elif kind == 4 and isinstance(tree[key], (int, float)) and not isinstance(tree[key], bool):
            tree[key] = tree[key] + int(self.rng.integers(-2, 3))
        else:
            tree[key] = copy.deepcopy(WORDS[self.rng.integers(len(WORDS))])

    def outcome(self, content, thorough):
        """Whether a trainer took the file over; it stands as it was where not."""
        self.path.write_bytes(content)
        trainer = self.trainer = self.trainer or trainer_of()
        self.before = self.before or standing(trainer)
        if thorough:
            for reader in (fastdl.load, fastdl.load_torch):
                try:
                    reader(self.path)
                except ValueError as error:
                    assert_one_sentence(error)
        try:
            trainer.load(self.path)
        except ValueError as error:
            assert_one_sentence(error)
            assert standing(trainer) == self.before
            return False
        if thorough:
            self.resume(trainer)
        self.trainer = self.before = None
        return True

    def resume(self, trainer):
        """What was taken over is good enough to save, and to go on from or to be refused as the callbacks' state."""
        before = standing(trainer)
        try:
            with np.errstate(all="ignore"):
                trainer.fit(
                    X,
                    Y,
                    epochs=len(trainer.history) + 1,
                    batch_size=10,
                    resume=True,
                    callbacks=callbacks()[:2],
                    progress=False,
                )
        except FloatingPointError:
            return  # weights that are not finite are weights
        except ValueError as error:
            assert_one_sentence(error)
            assert standing(trainer) == before


def assert_one_sentence(error):
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 1200


def standing(trainer):
    state = trainer.optimizer.state_dict()
    return [
        *(array.tobytes() for array in trainer.model.state_dict().values()),
        *(np.asarray(value).tobytes() for entry in state["state"].values() for value in entry.values()),
        repr((state["param_groups"], trainer.schedule.state_dict(), trainer.history.records)),
    ]


def run(count, seed):
    """Change so many files; how many were taken over."""
    with place() as folder:
        files = Files(Path(folder), seed)
        return sum(files.outcome(files.damaged(), number % 8 == 0) for number in range(count))


def place():
    """A folder in memory where the system has one: thousands of files are slow on some disks."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


@pytest.fixture
def files():
    with place() as folder:
        yield Files(Path(folder), 1)


def test_whole_files_are_taken_over(files):
    for content in files.good:
        assert files.outcome(content, True)


@pytest.mark.parametrize("count", [500, pytest.param(15_000, marks=pytest.mark.slow)])
def test_changed_files_are_taken_over_whole_or_refused_in_one_sentence(count):
    taken = run(count, 0)
    assert 0.02 * count < taken < 0.6 * count  # else the changes are too large, or none


def test_no_file_makes_fastdl_ask_for_more_memory_than_its_size_warrants(files):
    trainer = trainer_of()
    for _ in range(300):
        content = files.damaged()
        files.path.write_bytes(content)
        tracemalloc.start()
        try:
            trainer.load(files.path)
        except ValueError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 1_000_000 + MOST * len(content)


@pytest.mark.parametrize(
    "shape", [[2**62, 0], [2**64 - 1, 0], [0, 2**40, 2**40], [0] * 70, [2**40], [2**63, 2]], ids=str
)
@pytest.mark.parametrize("reader", ["state", "model", "torch"])
def test_shapes_beyond_memory_are_refused(files, shape, reader):
    (size,) = struct.unpack("<Q", files.good[0][:8])
    header = json.loads(files.good[0][8 : 8 + size])
    name = "0.weight" if reader != "state" else "training/optimizer/state/0/exp_avg"
    header[name]["shape"] = shape
    if 0 in shape:
        header[name]["data_offsets"] = [header[name]["data_offsets"][0]] * 2
        header = {"__metadata__": header["__metadata__"], name: header[name] | {"data_offsets": [0, 0]}}
    text = json.dumps(header).encode()
    files.path.write_bytes(struct.pack("<Q", len(text)) + text + (b"" if 0 in shape else files.good[0][8 + size :]))
    with pytest.raises(ValueError, match=r"state\.safetensors"):
        {"state": trainer_of().load, "model": fastdl.load, "torch": fastdl.load_torch}[reader](files.path)


if __name__ == "__main__":
    total, begin = int(sys.argv[1]), time.perf_counter()
    found = run(total, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"{total} files: {found} taken over, {total - found} refused, in {time.perf_counter() - begin:.0f} s")
