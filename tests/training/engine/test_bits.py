"""The native engine's results do not depend on the number of threads; every CPU level runs it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from tests.training.engine.twins import Parts, compare, epochs


def linear(inputs, outputs, dtype):
    return nn.Linear(inputs, outputs, rng=inputs, dtype=dtype)


def table(dtype):
    return nn.Sequential(
        linear(60, 300, dtype),
        nn.GELU(),
        nn.Residual(nn.Sequential(nn.LayerNorm(300, dtype=dtype), linear(300, 300, dtype), nn.ReLU(), nn.Dropout(0.1))),
        nn.BatchNorm1d(300, dtype=dtype),
        nn.Parallel(linear(300, 40, dtype), nn.Softmax()),
        linear(340, 3, dtype),
    )


def images(dtype):
    return nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1, rng=0, dtype=dtype),
        nn.BatchNorm2d(16, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, groups=16, rng=1, dtype=dtype),
        nn.Tanh(),
        nn.Dropout2d(0.2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        linear(144, 3, dtype),
    )


KINDS = {"table": (table, (60,)), "images": (images, (2, 16, 16))}


def task(model, shape, dtype, rows=200):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, *shape)).astype(dtype), rng.integers(0, 3, rows)

    def make():
        its = model(dtype)
        return Parts(its, nn.CrossEntropyLoss(), optim.SGD(its.parameters(), lr=0.01, momentum=0.9), clip_norm=1.0)

    return make, x, y


@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_the_number_of_threads(kind, level, dtype, threads):
    results = []
    for n in (1, 2, 3):
        fastdl.set_num_threads(n)
        results.append(epochs(*task(*KINDS[kind], dtype), True, batch_size=70, count=1))
    for name, one in results[0].items():
        for other in results[1:]:
            np.testing.assert_array_equal(one, other[name], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_trains_alike_in_both_engines(kind, level):
    compare(*task(*KINDS[kind], np.float64, 30), batch_size=20, count=1)


def test_several_models_train_in_several_threads_at_once():
    def train(seed):
        model = nn.Sequential(nn.Linear(8, 32, rng=seed), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 3, rng=seed + 1))
        trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
        rng = np.random.default_rng(seed)
        history = trainer.fit(
            rng.standard_normal((200, 8)), rng.integers(0, 3, 200), epochs=20, batch_size=16, seed=seed
        )
        assert history.engine.startswith("native")
        return history["loss"], model.state_dict()["0.weight"].tobytes()

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(train, range(4))) == alone


def test_one_model_predicts_in_many_threads_while_another_trains():
    model = images(np.float32).eval()
    x = np.random.default_rng(0).standard_normal((40, 2, 16, 16)).astype(np.float32)
    want = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters())).predict(x)
    make, xs, y = task(table, (60,), np.float32)
    stop = threading.Event()

    def train():
        parts = make()
        while not stop.is_set():
            Trainer(*parts[:3]).fit(xs, y, epochs=1, batch_size=50)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            for got in pool.map(lambda _: fastdl.training.predict(model, x, 16), range(12)):
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    finally:
        stop.set()
        thread.join()


def test_more_threads_in_the_middle_of_an_epoch_find_no_scratch_too_small(threads):
    """The scratch of a convolution grows with the threads, and was made when the epoch began."""
    make, x, y = task(images, (2, 16, 16), np.float32, 2000)
    fastdl.set_num_threads(2)
    want = epochs(make, x, y, True, batch_size=100, count=1)
    fastdl.set_num_threads(1)
    results = []
    thread = threading.Thread(target=lambda: results.append(epochs(make, x, y, True, batch_size=100, count=1)))
    thread.start()
    while thread.is_alive():
        for n in (8, 1):
            fastdl.set_num_threads(n)
    thread.join()
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, want[name], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_called_again_with_more_threads_finds_no_scratch_too_small(kind, threads):
    model, shape = KINDS[kind]
    x = np.random.default_rng(0).standard_normal((300, *shape)).astype(np.float32)
    its = model(np.float32).eval()
    results = []
    for n in (1, 8, 2, 16):
        fastdl.set_num_threads(n)
        y = its(x)
        results.append((y.tobytes(), its.backward(np.ones_like(y)).tobytes()))
    assert len(set(results)) == 1


def test_more_threads_in_the_middle_of_a_prediction_find_no_scratch_too_small(threads):
    model = images(np.float32).eval()
    x = np.random.default_rng(0).standard_normal((6000, 2, 16, 16)).astype(np.float32)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    fastdl.set_num_threads(1)
    want = trainer.predict(x, batch_size=200)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: [trainer.predict(x, batch_size=200) for _ in range(5)])
        while not running.done():
            for n in (8, 1):
                fastdl.set_num_threads(n)
    for found in running.result():
        np.testing.assert_array_equal(found, want)
