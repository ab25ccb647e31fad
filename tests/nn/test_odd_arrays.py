"""Odd arrays are used as what they hold, and no shape, stride, emptiness or dtype brings the interpreter down."""

import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

from fastdl import nn
from fastdl._kernels.array import ready, ready_gradient
from fastdl._kernels.program.call import Record
from fastdl.nn import Parameter

LAYERS = (
    nn.Linear(4, 3, rng=0),
    nn.Linear(4, 3, bias=False, rng=0),
    nn.ReLU(),
    nn.LeakyReLU(0.2),
    nn.GELU(),
    nn.Tanh(),
    nn.Softplus(),
    nn.Softmax(),
    nn.LogSoftmax(0),
    nn.Activation(np.sin, np.cos),
    nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU()),
    nn.Residual(nn.Linear(4, 4, rng=0)),
    nn.Parallel(nn.Linear(4, 3, rng=0), nn.Tanh()),
)

# Layouts and kinds that an array may have, each as a function that keeps the values.


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, dtype=np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def in_file(array, folder):
    mapped = np.memmap(folder / "array", dtype=array.dtype, mode="w+", shape=array.shape)
    mapped[...] = array
    return mapped


class Own(np.ndarray):
    """A subclass whose arithmetic is not to be trusted."""

    def __array_ufunc__(self, *args, **kwargs):
        raise AssertionError("a layer computes on plain arrays")


ODD = {
    "reversed": lambda a: a[::-1].copy()[::-1],
    "reversed columns": lambda a: a[:, ::-1].copy()[:, ::-1],
    "Fortran": np.asfortranarray,
    "transposed": lambda a: a.T.copy().T,
    "every second": lambda a: np.repeat(np.repeat(a, 2, axis=0), 2, axis=1)[::2, ::2],
    "column of records": lambda a: np.rec.fromarrays([np.zeros_like(a), a], names="other,a").a,
    "read-only": read_only,
    "misaligned": misaligned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "little-endian": lambda a: a.astype(a.dtype.newbyteorder("<")),
    "subclass": lambda a: a.copy().view(Own),
    "matrix": lambda a: a.copy().view(np.matrix),
    "buffer of bytes": lambda a: np.frombuffer(a.tobytes(), dtype=a.dtype).reshape(a.shape),
}
DATA = np.random.default_rng(2).standard_normal((37, 4)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_an_odd_array_gives_what_its_plain_copy_gives(each, each_level, layer):
    for odd in each(odd=ODD):
        for _ in each_level():
            x = ODD[odd](DATA)
            layer.zero_grad()
            want = layer(DATA)
            gy = np.random.default_rng(4).standard_normal(want.shape).astype(np.float32)
            want_gx = layer.backward(gy)
            gradients = [parameter.grad.copy() for parameter in layer.parameters()]
            layer.zero_grad()
            y = layer(x)
            assert type(y) is np.ndarray
            assert (y == want).all()
            gx = layer.backward(ODD[odd](gy))
            assert type(gx) is np.ndarray
            assert (gx == want_gx).all()
            for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
                assert (parameter.grad == gradient).all()
            assert (np.asarray(x) == DATA).all()


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_an_array_in_a_file_is_used_as_what_it_holds(layer, tmp_path):
    mapped = in_file(DATA, tmp_path)
    y = layer(mapped)
    assert type(y) is np.ndarray
    assert (y == layer(DATA)).all()


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_one_value_broadcast_over_an_array_is_used_as_the_array(layer):
    x = np.broadcast_to(np.float32(0.5), (37, 4))
    y = layer(x)
    assert (y == layer(x.copy())).all()
    gy = np.broadcast_to(np.float32(2.0), y.shape)
    gx = layer.backward(gy)
    layer(x)
    assert (gx == layer.backward(gy.copy())).all()


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_an_empty_batch_gives_nothing_and_zero_gradients(layer):
    layer.zero_grad()
    y = layer(np.zeros((0, 4), dtype=np.float32))
    assert y.shape[0] == 0
    gx = layer.backward(np.zeros(y.shape, dtype=np.float32))
    assert gx.shape == (0, 4)
    assert not any(parameter.grad.any() for parameter in layer.parameters())


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if not list(layer.parameters())], ids=str)
def test_no_element_and_one_element_of_any_rank_pass(layer):
    for shape in [(0,), (1,), (0, 3), (3, 0), (2, 0, 3), (1,) * 30, (1,) * 64]:
        y = layer(np.ones(shape))
        assert y.shape == shape
        assert layer.backward(np.ones(shape)).shape == shape


@pytest.mark.parametrize(
    "layer", [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.Softplus(), nn.Activation(np.sin, np.cos)], ids=str
)
def test_an_array_without_axes_passes_elementwise_layers(layer):
    y = layer(np.array(0.5))
    assert np.shape(y) == ()
    assert np.shape(layer.backward(np.array(1.0))) == ()


def test_linear_takes_rows_of_any_rank():
    layer = nn.Linear(1, 2)
    assert layer(np.ones((1,) * 64, dtype=np.float32)).shape == (*(1,) * 63, 2)
    assert layer(np.ones((0, 7, 0, 1), dtype=np.float32)).shape == (0, 7, 0, 2)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_more_values_than_memory_are_a_clean_error(layer):
    x = np.broadcast_to(np.float32(0), (2**57, 4))
    with pytest.raises((MemoryError, ValueError)):
        layer(x)


def test_an_output_whose_size_overflows_is_a_clean_error():
    x = np.zeros((0, 2**58, 2), dtype=np.float32)
    with pytest.raises((MemoryError, ValueError)):
        nn.Linear(2, 2**10)(x)
    assert nn.Linear(2, 3)(np.zeros((0, 2**50, 2), dtype=np.float32)).shape == (0, 2**50, 3)


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()], ids=str)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_odd_arrays_give_a_loss_what_their_plain_copies_give(each, criterion):
    for odd in each(odd=ODD):
        t = np.abs(DATA[::-1]) / (1 + np.abs(DATA[::-1]))
        want = criterion(DATA, t)
        want_gx = criterion.backward()
        assert criterion(ODD[odd](DATA), ODD[odd](t)) == want
        assert (criterion.backward() == want_gx).all()


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_odd_arrays_are_copied_into_parameters(odd):
    parameter = Parameter(np.zeros(DATA.shape, dtype=np.float32))
    parameter.data = ODD[odd](DATA)
    parameter.grad = ODD[odd](DATA)
    assert type(parameter.data) is np.ndarray
    assert (parameter.data == DATA).all()
    assert (parameter.grad == DATA).all()


# What once brought the interpreter down is tried in another; the case that does so again is the first without a line.

PRELUDE = "import numpy as np\nfrom fastdl import nn, optim\nfrom fastdl.nn import Parameter\n"
CRASHES = {
    "a transposed weight": (
        "b = nn.Linear(2000, 3); b.weight = nn.Linear(3, 2000).weight; b(np.zeros((50, 2000), np.float32))",
        "InvalidValueError: Linear(2000, 3): expected a weight of shape (3, 2000), got (2000, 3)",
    ),
    "a larger weight": (
        "b = nn.Linear(5, 3); b.weight = Parameter(np.zeros((100000, 5), np.float32)); b(np.zeros((50, 5), np.float32))",
        "InvalidValueError: Linear(5, 3): expected a weight of shape (3, 5), got (100000, 5)",
    ),
    "a larger weight before backward": (
        "b = nn.Linear(5, 3); b(np.zeros((50, 5), np.float32)); b.weight = Parameter(np.zeros((30000, 500), np.float32));"
        "b.backward(np.zeros((50, 3), np.float32))",
        "InvalidValueError: Linear(5, 3): expected a weight of shape (3, 5), got (30000, 500)",
    ),
    "a shorter bias": (
        "b = nn.Linear(5, 3000000); b.bias = Parameter(np.zeros(1, np.float32)); b(np.zeros((1, 5), np.float32))",
        "InvalidValueError: Linear(5, 3000000): expected a bias of float32 and shape (3000000,), got float32 and (1,)",
    ),
    "a bias of another dtype": (
        "b = nn.Linear(5, 3000000); b.weight.astype(np.float64); b(np.zeros((1, 5)))",
        "InvalidValueError: Linear(5, 3000000): expected a bias of float64 and shape (3000000,), got float32 and (3000000,)",
    ),
    "weights of another dtype before backward": (
        "b = nn.Linear(500, 300, dtype=np.float64); b(np.zeros((10, 500))); b.astype(np.float32);"
        "b.backward(np.zeros((10, 300)))",
        "RuntimeError: Linear(500, 300): weights became float32 after a forward in float64; call the model again",
    ),
    "weights of integers": (
        "b = nn.Linear(500, 3000); [p.astype(np.int8) for p in b.parameters()]; b(np.zeros((10, 500), np.int8))",
        "InvalidTypeError: Parameter.astype: expected dtype float32 or float64, got <class 'numpy.int8'>",
    ),
    "a gradient of the output of a layer that was added before backward": (
        "s = nn.Sequential(nn.Linear(2, 3000)); s(np.zeros((10, 2), np.float32)); s.append(nn.Linear(4000, 5000));"
        "s.backward(np.zeros((10, 5000), np.float32))",
        "InvalidValueError: Linear(2, 3000): expected a gradient of shape (10, 3000), got (10, 5000)",
    ),
}


EACH_CASE = """
import sys
for name, code in eval(sys.stdin.read()).items():
    try:
        exec(code)
    except Exception as error:
        print(f"{name} - {type(error).__name__}: {error}", flush=True)
"""


def test_unfit_weights_are_errors_and_no_crash():
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRELUDE + EACH_CASE],
        input=repr({name: code for name, (code, _) in CRASHES.items()}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{name} - {message}" for name, (_, message) in CRASHES.items()]
    assert (done.returncode, done.stderr) == (0, "")


class Silent:
    """An owner whose spelling nobody asks for."""

    def spec(self):
        raise AssertionError("no error's text is built where there is none")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("odd", [*ODD, "broadcast"])
def test_an_odd_array_is_copied_for_a_kernel_without_building_texts(odd, dtype):
    array = DATA.astype(dtype)
    x = np.broadcast_to(array[0], array.shape) if odd == "broadcast" else ODD[odd](array)
    for wanted in (None, np.dtype(dtype)):
        plain = ready(x, wanted, Silent())
        assert type(plain) is np.ndarray
        assert plain.dtype == dtype
        assert plain.dtype.isnative
        assert plain.flags.c_contiguous
        assert plain.flags.aligned
        assert (plain == np.asarray(x)).all()
        assert (ready_gradient(x, plain, Silent()) == plain).all()


NETWORKS = {
    "rows": (lambda: nn.Sequential(nn.Linear(4, 64, rng=0), nn.Tanh(), nn.Linear(64, 2, rng=1)), (128, 8)),
    "elements": (lambda: nn.Sequential(nn.Tanh(), nn.LayerNorm(4)), (33, 8)),
    "images": (lambda: nn.Sequential(nn.Conv2d(4, 3, 3, rng=0), nn.BatchNorm2d(3), nn.ReLU()), (5, 8, 6, 7)),
    "ways": (lambda: nn.Sequential(nn.Parallel(nn.Linear(4, 3, rng=0), nn.Tanh()), nn.Linear(7, 2, rng=1)), (9, 8)),
}
SLICES = {
    "columns": lambda wide: wide[:, :4],
    "every second column": lambda wide: wide[:, 1::2],
    "reversed columns": lambda wide: wide[:, 3::-1],
    "reversed rows": lambda wide: wide[::-1, :4],
    "Fortran": lambda wide: np.asfortranarray(wide[:, :4]),
    "one row for all": lambda wide: np.broadcast_to(wide[0, :4], wide[:, :4].shape),
    "big-endian": lambda wide: wide[:, :4].astype(wide.dtype.newbyteorder(">")),
    "subclass": lambda wide: wide[:, :4].copy().view(Own),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_slice_runs_through_the_program_of_a_contiguous_batch(each, network, dtype):
    for cut in each(cut=SLICES):
        make, shape = NETWORKS[network]
        model = make().astype(dtype)
        x = SLICES[cut](np.random.default_rng(0).standard_normal(shape).astype(dtype))
        plain = np.ascontiguousarray(np.asarray(x), dtype=dtype)
        for keeps in (True, False):
            for _ in range(4):
                with nullcontext() if keeps else nn.no_grad():
                    want = model(plain)
        calls = model._flat.latest
        assert len(calls) == 2
        want = model(plain)
        gy = np.random.default_rng(1).standard_normal(want.shape).astype(dtype)
        model.zero_grad()
        want_gx = model.backward(gy)
        gradients = [parameter.grad.copy() for parameter in model.parameters()]
        for _ in range(4):
            y = model(x)
            assert type(model._kept) is Record
            np.testing.assert_array_equal(y, want)
            model.zero_grad()
            gx = model.backward(np.repeat(gy, 2, axis=1)[:, ::2])
            np.testing.assert_array_equal(gx, want_gx)
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                np.testing.assert_array_equal(parameter.grad, gradient)
            with nn.no_grad():
                np.testing.assert_array_equal(model(x), want)
        assert model._flat.latest is calls


def test_a_program_comes_of_slices_alone_and_keeps_a_copy():
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU())
    wide = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    for _ in range(4):
        model(wide[:, :4])
    assert type(model._kept) is Record
    x = wide[:, :4].copy()
    wide.fill(np.nan)
    gx = model.backward(np.ones((6, 3), np.float32))
    got = model[0].weight.grad.copy()
    model.zero_grad()
    model(x)
    np.testing.assert_array_equal(model.backward(np.ones((6, 3), np.float32)), gx)
    np.testing.assert_array_equal(model[0].weight.grad, got)
