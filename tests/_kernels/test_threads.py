"""Threads: the same bits whatever their number, the knob, forks, and several Python threads at once."""

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastdl
from fastdl import nn, optim
from fastdl.nn import Parameter
from fastdl.testing import LAYER_CASES, OPTIMIZER_CASES, make_input

pytestmark = pytest.mark.usefixtures("same_draws")


# Kernels of both dtypes divide their work in the same way: one of them stands for the other.
dtypes = pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])


@dtypes
def test_a_large_network_gives_the_same_bits_on_one_thread_and_two(level, dtype, threads):
    def train(n):
        fastdl.set_num_threads(n)
        rng = np.random.default_rng(0)
        model = nn.Sequential(
            nn.Linear(300, 520, rng=1, dtype=dtype), nn.GELU(), nn.Linear(520, 130, rng=2, dtype=dtype), nn.Tanh()
        )
        criterion, optimizer = nn.MSELoss(), optim.Adam(model.parameters())
        x, t = rng.standard_normal((700, 300)).astype(dtype), rng.standard_normal((700, 130)).astype(dtype)
        for _ in range(2):
            optimizer.zero_grad()
            loss = criterion(model(x), t)
            gx = model.backward(criterion.backward())
            optimizer.step()
        return loss, gx, *model.state_dict().values()

    for one, two, three in zip(train(1), train(2), train(3), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


@dtypes
@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_every_layer_gives_the_same_bits_on_one_thread_and_two(case, dtype, threads):
    shape = (4000, *case.shapes[0][1:]) if len(case.shapes[0]) > 1 else (4_000_00,)
    x = make_input(case, shape, np.random.default_rng(0), dtype)
    results = []
    for n in (1, 2):
        fastdl.set_num_threads(n)
        layer = case.make(dtype)
        y = layer(x)
        results.append([y, layer.backward(np.cos(y)), *(p.grad for p in layer.parameters())])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@dtypes
@pytest.mark.parametrize("case", OPTIMIZER_CASES, ids=str)
def test_every_optimizer_gives_the_same_bits_on_one_thread_and_two(case, dtype, threads):
    results = []
    for n in (1, 2):
        fastdl.set_num_threads(n)
        rng = np.random.default_rng(0)
        parameter = Parameter(rng.standard_normal(300_001).astype(dtype))
        optimizer = case.make(dtype)([parameter])
        for _ in range(2):
            parameter.grad = rng.standard_normal(300_001)
            optimizer.step()
        results.append(parameter.data)
    np.testing.assert_array_equal(*results)


def test_the_knob_counts_and_refuses_nonsense(threads):
    fastdl.set_num_threads(1)
    assert fastdl.get_num_threads() == 1
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="positive integer"):
            fastdl.set_num_threads(wrong)
    assert fastdl.get_num_threads() == 1


def test_threadpoolctl_sees_and_limits_the_threads(threads):
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    if fastdl.build_info()["openmp"] == "none":
        pytest.skip("built without OpenMP")
    fastdl.set_num_threads(2)
    assert any(pool["user_api"] == "openmp" for pool in threadpoolctl.threadpool_info())
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert fastdl.get_num_threads() == 1
    assert fastdl.get_num_threads() == 2


def test_the_environment_sets_the_number_of_threads(python):
    code = "import fastdl; print(fastdl.get_num_threads())"
    assert python(code, FASTDL_NUM_THREADS="1").stdout == "1\n"
    refused = python(code, FASTDL_NUM_THREADS="many")
    assert refused.returncode == 1
    assert "FASTDL_NUM_THREADS: expected a positive integer, got 'many'" in refused.stderr


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer takes terabytes of addresses")
def test_a_number_of_threads_that_no_machine_has_is_not_taken_over(python):
    code = """
import os, resource, numpy as np, fastdl
from fastdl import nn
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
assert fastdl.get_num_threads() <= os.cpu_count(), fastdl.get_num_threads()
layer = nn.Conv2d(3, 8, 3)
print(layer.backward(layer(np.ones((8, 3, 32, 32), np.float32))).shape)
"""
    done = python(code, OMP_NUM_THREADS="100000")
    assert (done.returncode, done.stdout) == (0, "(8, 3, 32, 32)\n"), done.stderr


def test_too_many_threads_are_refused(threads):
    with pytest.raises(ValueError, match=r"^set_num_threads: expected a positive integer up to 1024, got 100000$"):
        fastdl.set_num_threads(100_000)


def test_the_number_holds_in_every_python_thread(threads):
    begun, released, seen = threading.Event(), threading.Event(), []

    def look():
        nn.Linear(600, 600)(np.ones((600, 600), np.float32))
        begun.set()
        released.wait(60)
        seen.append(fastdl.get_num_threads())

    fastdl.set_num_threads(2)
    if fastdl.get_num_threads() != 2:
        pytest.skip("built without OpenMP")
    other = threading.Thread(target=look)
    other.start()
    begun.wait(60)
    fastdl.set_num_threads(1)
    released.set()
    other.join()
    later = threading.Thread(target=lambda: seen.append(fastdl.get_num_threads()))
    later.start()
    later.join()
    assert seen == [1, 1]


def work_in_child(queue):
    x = np.ones((600, 600), np.float32)
    queue.put((fastdl.get_num_threads(), float(nn.Linear(600, 600, weight_init=nn.init.ones(), bias=False)(x)[0, 0])))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_runs_single_threaded_rather_than_hang(threads):
    fastdl.set_num_threads(2)
    nn.Linear(600, 600)(np.ones((600, 600), np.float32))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=work_in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=600) == (1, 600.0)
    finally:
        child.kill()
        child.join()


def test_one_model_serves_many_threads_under_no_grad():
    model = nn.Sequential(nn.Linear(20, 300, rng=0), nn.Tanh(), nn.Linear(300, 5, rng=1))
    batches = [np.random.default_rng(i).standard_normal((50 + i, 20)).astype(np.float32) for i in range(16)]

    @fastdl.no_grad()
    def predict(x):
        return [model(x) for _ in range(20)]

    want = [predict(x)[0] for x in batches]
    with ThreadPoolExecutor(8) as pool:
        for got, expected in zip(pool.map(predict, batches), want, strict=True):
            for each in got:
                np.testing.assert_array_equal(each, expected)


@pytest.mark.parametrize("own", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}])
def test_the_environment_is_after_an_import_what_it_was_before(own):
    others = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "KMP_", "OMP_"))}
    script = "import os; before = dict(os.environ); import fastdl; assert dict(os.environ) == before"
    subprocess.run([sys.executable, "-P", "-c", script], env=others | own, check=True)
