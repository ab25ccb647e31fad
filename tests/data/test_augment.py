"""Augmentation: what each change does to images, and how Trainer.fit uses it."""

import copy
import pickle

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.data import Compose, Flip, Noise, Shift, ball, batches
from fastdl.random import manual_seed

X = np.random.default_rng(0).random((500, 2, 6, 5)).astype(np.float32) + 1
CHANGES = [Shift(2), Flip(), Noise(0.1), Compose([Shift(1), Flip(0.3), Noise(0.2)])]


def moved(image, down, right):
    """The image shifted by naive loops."""
    result = np.zeros_like(image)
    C, H, W = image.shape
    for c in range(C):
        for h in range(H):
            for w in range(W):
                if 0 <= h - down < H and 0 <= w - right < W:
                    result[c, h, w] = image[c, h - down, w - right]
    return result


def test_a_positive_shift_goes_down_and_right():
    rng = np.random.default_rng(2)
    down, right = np.random.default_rng(2).integers(-2, 2, (2, len(X)), endpoint=True)
    for before, after, *move in zip(X, Shift(2)(X, rng), down, right, strict=True):
        assert (moved(before, *move) == after).all()


@pytest.mark.parametrize("k", [0, 1, 2, 5])
def test_a_shift_is_one_of_all_moves_and_each_is_as_likely(k):
    y = Shift(k)(X, rng=1)
    moves = [(down, right) for down in range(-k, k + 1) for right in range(-k, k + 1)]
    counts = dict.fromkeys(moves, 0)
    for before, after in zip(X, y, strict=True):
        found = [move for move in moves if (moved(before, *move) == after).all()]
        assert found
        counts[found[0]] += 1
    if k < 5:
        share = len(X) / len(moves)
        assert max(abs(count - share) for count in counts.values()) < 5 * np.sqrt(share)


def test_a_flip_mirrors_about_p_of_the_images_left_to_right():
    y = Flip(0.3)(X, rng=1)
    mirrored = (y == X[..., ::-1]).all(axis=(1, 2, 3))
    assert (y[~mirrored] == X[~mirrored]).all()
    assert mirrored.mean() == pytest.approx(0.3, abs=0.1)
    assert (Flip(0)(X) == X).all()
    assert (Flip(1)(X) == X[..., ::-1]).all()


@pytest.mark.parametrize("shape", [(2000, 20), (10, 4, 10, 100)])
def test_noise_is_normal_with_its_deviation(shape, dtype):
    x = np.full(shape, 5, dtype)
    difference = Noise(0.5)(x, rng=0) - x
    assert difference.mean(dtype=np.float64) == pytest.approx(0, abs=0.015)
    assert difference.std(dtype=np.float64) == pytest.approx(0.5, abs=0.015)
    assert (np.abs(difference) < 0.5).mean() == pytest.approx(0.683, abs=0.02)
    assert (Noise(0)(x) == x).all()


def test_compose_goes_through_its_parts_with_one_generator():
    first, second = np.random.default_rng(4), np.random.default_rng(4)
    assert (
        Compose([Shift(2), Flip(), Noise(1)])(X, first) == Noise(1)(Flip()(Shift(2)(X, second), second), second)
    ).all()
    parts = [lambda x, rng: x + 1, lambda x, rng: x * 2]
    assert (Compose(parts)(X) == (X + 1) * 2).all()


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_a_change_gives_a_new_contiguous_array_of_the_same_dtype(change, dtype):
    x = X.astype(dtype)
    before = x.copy()
    y = change(x, rng=0)
    assert (x == before).all()
    assert not np.shares_memory(x, y)
    assert (y.dtype, y.shape, y.flags.c_contiguous) == (dtype, x.shape, True)
    for odd in (np.asfortranarray(x), x[::-1].copy()[::-1]):
        assert (change(odd, rng=0) == y).all()
        assert change(odd, rng=0).flags.c_contiguous
    x.setflags(write=False)
    assert (change(x, rng=0) == y).all()


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_a_seed_repeats_a_change_and_a_generator_goes_on(change):
    rng = np.random.default_rng(1)
    first = change(X, rng)
    assert (first == change(X, 1)).all()
    assert (first != change(X, rng)).any()
    manual_seed(1)
    assert (first == change(X)).all()


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_changes_take_no_images_copies_and_pickles(change):
    assert change(X[:0], rng=0).shape == (0, 2, 6, 5)
    for again in (copy.deepcopy(change), pickle.loads(pickle.dumps(change))):
        assert (again(X, 2) == change(X, 2)).all()
        assert repr(again) == repr(change)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: Shift(-1), ValueError, "Shift: expected an integer >= 0 for k, got -1"),
        (lambda: Shift(1.0), TypeError, "Shift: expected an integer"),
        (lambda: Shift(6)(X), ValueError, r"Shift\(6\): expected images of at least 6 by 6 pixels, got 6 by 5"),
        (lambda: Shift(10**12)(X), ValueError, "at least 1000000000000 by"),
        (lambda: Flip(1.5), ValueError, "Flip: expected a number from 0 to 1 for p, got 1.5"),
        (lambda: Flip("half"), TypeError, "Flip: expected a number for p"),
        (lambda: Flip()(X[0]), ValueError, r"Flip\(0.5\): expected images of shape \(N, C, H, W\), got \(2, 6, 5\)"),
        (lambda: Noise(-1), ValueError, "Noise: expected a finite number >= 0 for std, got -1"),
        (lambda: Noise(np.nan), ValueError, "std"),
        (lambda: Noise(1)(np.array(1.0)), ValueError, "expected an array with rows"),
        (
            lambda: Noise(1)(X.astype(np.uint8)),
            TypeError,
            r"Noise\(1\): expected an array of float32 or float64, got uint8",
        ),
        (
            lambda: Shift(1)(X.astype(X.dtype.newbyteorder())),
            TypeError,
            "expected an array of float32 or float64, got ",
        ),
        (lambda: Shift(1)(X.tolist()), TypeError, "got list"),
        (lambda: Flip()(X, "seed"), TypeError, "rng"),
        (lambda: Compose(Flip()), TypeError, r"Compose: expected a list of functions of \(x, generator\), got Flip"),
        (lambda: Compose([Flip(), 3]), TypeError, "expected functions of .*, got 3"),
        (lambda: Compose([]), ValueError, "at least one"),
    ],
)
def test_a_bad_call_says_so(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


IMAGES, LABELS = ball(60, rng=0)


def make_trainer(**options):
    model = nn.Sequential(Rows(), nn.Linear(48, 2, rng=1))
    return Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), **options)


class Rows(nn.Module):
    """Images as rows; notes what it is given and in which mode."""

    def __init__(self):
        self.seen = []

    def forward(self, x):
        if self.training:
            self.seen.append(x.copy())
        return x.reshape(len(x), -1)

    def backward(self, grad_output):
        return grad_output


def weights(trainer):
    return trainer.model[1].weight.data.copy()


def test_fit_trains_on_changed_batches_drawn_from_its_own_generator():
    change = Compose([Shift(1), Flip(), Noise(0.1)])
    trainer = make_trainer()
    trainer.fit(IMAGES, LABELS, epochs=2, batch_size=16, seed=5, augment=change)
    rng = np.random.default_rng(5)
    expected = [change(x, rng) for _ in range(2) for x, _ in batches(IMAGES, LABELS, 16, rng=rng)]
    assert len(trainer.model[0].seen) == len(expected)
    assert all((a == b).all() for a, b in zip(trainer.model[0].seen, expected, strict=True))


def test_a_seed_repeats_an_augmented_fit():
    found = []
    for seed in (3, 3, 4):
        trainer = make_trainer()
        history = trainer.fit(IMAGES, LABELS, epochs=2, batch_size=16, seed=seed, shuffle=False, augment=Noise(0.5))
        found.append((weights(trainer).tobytes(), history["loss"]))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_trying_out_draws_nothing_from_the_fits_generator():
    trainer, again = make_trainer(), make_trainer()
    trainer.fit(IMAGES, LABELS, epochs=1, batch_size=16, seed=np.random.default_rng(3), augment=Noise(0.5))
    again.fit(IMAGES, LABELS, epochs=1, batch_size=16, seed=3, augment=Noise(0.5))
    assert (weights(trainer) == weights(again)).all()


def test_without_augment_nothing_more_is_drawn():
    trainer, plain = make_trainer(), make_trainer()
    trainer.fit(IMAGES, LABELS, epochs=2, batch_size=16, seed=3, augment=lambda x, rng: x)
    plain.fit(IMAGES, LABELS, epochs=2, batch_size=16, seed=3)
    assert (weights(trainer) == weights(plain)).all()


def test_validation_is_never_changed():
    trainer = make_trainer()
    history = trainer.fit(
        IMAGES, LABELS, epochs=1, batch_size=16, validation_data=(IMAGES, LABELS), augment=lambda x, rng: 0 * x
    )
    assert history["val_loss"][0] == trainer.evaluate(IMAGES, LABELS)["loss"]
    assert all((x == 0).all() for x in trainer.model[0].seen)


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_augment_that_writes_into_its_batch_leaves_the_data_alone(shuffle):
    def clear(x, rng):
        x[:] = 0
        return x

    x = IMAGES.copy()
    make_trainer().fit(x, LABELS, epochs=2, batch_size=16, shuffle=shuffle, augment=clear)
    assert (x == IMAGES).all()


@pytest.mark.parametrize(
    ("augment", "kind", "message"),
    [
        (3, TypeError, r"Trainer.fit: expected a function of \(x, generator\) or None for augment, got 3"),
        (lambda x, rng: x.astype(np.float64), TypeError, "expected augment to return an array of float32, got float64"),
        (lambda x, rng: x.tolist(), TypeError, "expected augment to return an array of float32, got list"),
        (lambda x, rng: x[:, :1], ValueError, r"expected augment to return the shape \(1, 3, 4, 4\)"),
        (Shift(5), ValueError, r"Shift\(5\): expected images of at least 5 by 5 pixels"),
    ],
)
def test_a_wrong_augment_is_reported_before_anything_changes(augment, kind, message):
    trainer = make_trainer()
    before = weights(trainer)
    with pytest.raises(kind, match=message):
        trainer.fit(IMAGES, LABELS, epochs=1, batch_size=16, augment=augment)
    assert (weights(trainer) == before).all()
    assert trainer.rng is None


def test_a_wrong_shape_in_a_later_batch_is_reported():
    augment = lambda x, rng: x[:5]  # noqa: E731
    with pytest.raises(ValueError, match=r"the shape \(16, 3, 4, 4\) that it was given, got \(5, 3, 4, 4\)"):
        make_trainer().fit(IMAGES, LABELS, epochs=1, batch_size=16, augment=augment)


class Pair(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.ones(2, np.float32))

    def forward(self, image, number):
        return image * self.w + number


SEVERAL = {"image": np.ones((8, 2), np.float32), "number": np.arange(8)[:, None]}


def pair_trainer():
    model = Pair()
    return Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.0))


@pytest.mark.parametrize("kind", [dict, tuple])
@pytest.mark.parametrize("batches", [False, True])
def test_several_inputs_are_changed_together(kind, batches):
    x = SEVERAL if kind is dict else tuple(SEVERAL.values())
    y = np.zeros((8, 2), np.float32)

    def change(given, rng):
        assert type(given) is kind
        if kind is dict:
            given["image"] += rng.random()  # its own
            return dict(reversed(given.items()))
        image, number = given
        image += rng.random()
        return image, number

    feed = ([(x, y)],) if batches else (x, y)
    options = {} if batches else {"batch_size": 8, "shuffle": False}
    history = pair_trainer().fit(*feed, epochs=2, augment=change, seed=3, **options)
    rng = np.random.default_rng(3)
    wanted = [np.mean((1 + rng.random() + SEVERAL["number"]) ** 2) for _ in range(2)]
    np.testing.assert_allclose(history["loss"], wanted, rtol=1e-5)
    assert SEVERAL["image"].max() == 1


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda x, rng: x["image"], TypeError, "augment to return a dict of image, number, got ndarray"),
        (lambda x, rng: {"image": x["image"]}, TypeError, "augment to return a dict of image, number, got image"),
        (
            lambda x, rng: x | {"number": x["number"] * 1.0},
            TypeError,
            "augment to return an array of int64, got float64",
        ),
        (lambda x, rng: x | {"image": x["image"][:, :1]}, ValueError, "augment to return the shape"),
    ],
    ids=["one", "missing", "dtype", "shape"],
)
def test_what_does_not_fit_several_inputs_is_refused(change, kind, message):
    with pytest.raises(kind, match=message):
        pair_trainer().fit(SEVERAL, np.zeros((8, 2), np.float32), epochs=1, batch_size=8, augment=change)
