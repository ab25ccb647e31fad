"""Threads: the same bits whatever their number, the knob, forks, and several Python threads at once."""

import itertools
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastdl
from fastdl import nn, optim
from fastdl._kernels.processors import number_of_threads, quota
from fastdl._kernels.threads import threads_reason
from fastdl.nn import Parameter
from fastdl.testing import LAYER_CASES, OPTIMIZER_CASES, make_input

COUNTED = itertools.count()

pytestmark = pytest.mark.usefixtures("same_draws")


# Kernels of both dtypes divide their work in the same way: one of them stands for the other.
dtypes = pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])


@dtypes
def test_a_large_network_gives_the_same_bits_on_any_number_of_threads(level, dtype, threads):
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

    for one, *others in zip(*map(train, (1, 2, 3, 4, 7)), strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


@dtypes
@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_every_layer_gives_the_same_bits_on_any_number_of_threads(case, dtype, threads):
    shape = (4000, *case.shapes[0][1:]) if len(case.shapes[0]) > 1 else (4_000_00,)
    x = make_input(case, shape, np.random.default_rng(0), dtype)
    results = []
    for n in (1, 2, 3, 4, 7):
        fastdl.set_num_threads(n)
        layer = case.make(dtype)
        y = layer(x)
        results.append([y, layer.backward(np.cos(y)), *(p.grad for p in layer.parameters())])
    for one, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


@dtypes
@pytest.mark.parametrize("case", OPTIMIZER_CASES, ids=str)
def test_every_optimizer_gives_the_same_bits_on_any_number_of_threads(case, dtype, threads):
    results = []
    for n in (1, 2, 3, 4, 7):
        fastdl.set_num_threads(n)
        rng = np.random.default_rng(0)
        parameter = Parameter(rng.standard_normal(300_001).astype(dtype))
        optimizer = case.make(dtype)([parameter])
        for _ in range(2):
            parameter.grad = rng.standard_normal(300_001)
            optimizer.step()
        results.append(parameter.data)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_the_knob_counts_and_refuses_nonsense(threads):
    fastdl.set_num_threads(1)
    assert fastdl.get_num_threads() == 1
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="positive integer"):
            fastdl.set_num_threads(wrong)
    assert fastdl.get_num_threads() == 1


def test_threadpoolctl_sees_and_limits_the_threads(threads):
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    fastdl.set_num_threads(2)
    (own,) = (pool for pool in threadpoolctl.threadpool_info() if pool["internal_api"] == "fastdl")
    assert (own["user_api"], own["num_threads"]) == ("openmp", 2)
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert fastdl.get_num_threads() == 1
        assert threads_reason() == "threadpoolctl, of 2 by set_num_threads"
    assert fastdl.get_num_threads() == 2
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert fastdl.get_num_threads() == 2
    fastdl.set_num_threads(3)
    assert fastdl.get_num_threads() == 3


@pytest.mark.parametrize("order", ["import fastdl, threadpoolctl", "import threadpoolctl, fastdl"])
def test_threadpoolctl_knows_the_threads_in_either_order_of_import(python, order):
    pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    code = f"""
import sys
before = len(sys.meta_path)
{order}
print(sum(pool["internal_api"] == "fastdl" for pool in threadpoolctl.threadpool_info()), len(sys.meta_path) - before)
print(threadpoolctl.__spec__.loader.get_source("threadpoolctl") is not None)
"""
    done = python(code)
    assert done.stdout == "1 0\nTrue\n", done.stderr


def test_the_environment_sets_the_number_of_threads(python):
    code = "import fastdl; print(fastdl.get_num_threads())"
    assert python(code, FASTDL_NUM_THREADS="1").stdout == "1\n"
    refused = python(code, FASTDL_NUM_THREADS="many")
    assert refused.returncode == 1
    assert "FASTDL_NUM_THREADS: expected a positive integer up to 1024, got 'many'" in refused.stderr


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
    x, layer = np.ones((600, 600), np.float32), nn.Linear(600, 600, weight_init=nn.init.ones(), bias=False)
    before = tasks_of_process()
    for _ in range(100):
        y = layer(x)
    queue.put((fastdl.get_num_threads(), float(y[0, 0]), tasks_of_process() > before))


def tasks_of_process():
    """How many threads the system counts; on others than Linux one more each time."""
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        return next(COUNTED)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(threads):
    fastdl.set_num_threads(2)
    nn.Linear(600, 600)(np.ones((600, 600), np.float32))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=work_in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=600) == (2, 600.0, True)
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


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_any_number_of_threads_on_few_processors_gives_the_same_bits(n, threads):
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, rng=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(24, 24, 3, rng=2)
    )
    x = rng.standard_normal((20, 3, 30, 30)).astype(np.float32)

    def results():
        y = model(x)
        return y, model.backward(np.cos(y)), *(p.grad for p in model.parameters())

    fastdl.set_num_threads(1)
    want = [each.copy() for each in results()]
    fastdl.set_num_threads(n)
    for _ in range(20):
        model.zero_grad()
        model[1].reset_running_stats()
        for one, many in zip(want, results(), strict=True):
            np.testing.assert_array_equal(one, many)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's addresses is Linux's")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer takes terabytes of addresses")
def test_threads_that_cannot_be_started_are_done_without(python):
    code = """
import resource, numpy as np, fastdl
from fastdl import nn
fastdl.set_num_threads(8)
layer, x = nn.Linear(600, 600, weight_init=nn.init.ones(), bias=False), np.ones((600, 600), np.float32)
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + (12 << 20), used + (12 << 20)))  # room for one thread's stack, not for seven
print(layer(x)[0, 0], len(__import__("os").listdir("/proc/self/task")) < 8)
"""
    done = python(code)
    assert (done.returncode, done.stdout) == (0, "600.0 True\n"), done.stderr


def test_other_python_threads_run_while_a_layer_computes(threads):
    fastdl.set_num_threads(1)
    layer, x = nn.Conv2d(64, 64, 5, rng=0), np.ones((32, 64, 32, 32), np.float32)
    over, counted = threading.Event(), []

    def count():
        n = 0
        while not over.is_set():
            n += 1
            counted.append(n)
            over.wait(1e-4)

    other = threading.Thread(target=count)
    other.start()
    try:
        while not counted:
            over.wait(1e-4)
        before = len(counted)
        layer(x)  # tens of milliseconds, amid which no Python code of this thread runs
        assert len(counted) > before + 3
    finally:
        over.set()
        other.join()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"FASTDL_NUM_THREADS": "5"}, (5, "FASTDL_NUM_THREADS")),
        ({"FASTDL_NUM_THREADS": "5", "OMP_NUM_THREADS": "1"}, (5, "FASTDL_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "1"}, (1, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "1,2"}, (1, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "100000"}, (4, "four")),
        ({"OMP_NUM_THREADS": "0"}, (4, "four")),
        ({"OMP_NUM_THREADS": "few"}, (4, "four")),
    ],
)
def test_the_number_to_begin_with_and_its_reason(monkeypatch, environment, expected):
    for name in ("FASTDL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("fastdl._kernels.processors.processors", lambda: (4, "four"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert number_of_threads(1024) == expected


@pytest.mark.parametrize("wrong", ["0", "-1", "1025", "2.5", "²", "many", "9" * 5000])
def test_a_wrong_number_in_the_environment_is_refused(monkeypatch, wrong):
    monkeypatch.setenv("FASTDL_NUM_THREADS", wrong)
    with pytest.raises(ImportError, match=r"^FASTDL_NUM_THREADS: expected a positive integer up to 1024, got '"):
        number_of_threads(1024)


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({}, "0::/", None),
        ({"cpu.max": "max 100000"}, "0::/", None),
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),
        ({"cpu.max": "max 100000", "a/cpu.max": "50000 100000", "a/b/cpu.max": "400000 100000"}, "0::/a/b", 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/\n0::/", None),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/x", 3),
        (
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "25000", "cpu,cpuacct/x/cpu.cfs_period_us": "50000"},
            "3:cpu,cpuacct:/x",
            0.5,
        ),
        ({"cpu.max": ""}, "0::/", None),
        ({"cpu.max": "nonsense"}, "0::/", None),
    ],
)
def test_the_quota_of_control_groups(tmp_path, files, own, expected):
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own + "\n")
    assert quota(tmp_path / "groups", tmp_path / "own") == expected
