"""summary: the table of a model's layers, whatever it is made of, and a model that stays as it was."""

import copy
import pickle
import threading
import tracemalloc

import numpy as np
import pytest

from fastdl import nn
from fastdl.nn import Parameter
from fastdl.testing import CASES


def columns(summary):
    """Name, output shape, parameters and multiply-adds of each row."""
    return [(row.name, row.output_shape, row.parameters, row.multiply_adds) for row in summary.rows]


class Scale(nn.Module):
    def __init__(self):
        self.factor = Parameter(np.full(1, 2, np.float32))
        self.calls = 0
        self.modes = []

    def forward(self, x):
        self.x = x
        self.calls += 1
        self.modes.append(self.training)
        return self.factor.data * x

    def backward(self, grad_output):
        self.factor.grad += np.sum(grad_output * self.x)
        return self.factor.data * grad_output


class Block(nn.Module):
    """Calls its parts in another order than it holds them, one of them twice and one never."""

    def __init__(self):
        self.last = nn.Linear(4, 2, rng=0)
        self.first = nn.Linear(4, 4, rng=0)
        self.unused = nn.Linear(4, 9, rng=0)

    def forward(self, x):
        return self.last(self.first(self.first(x)))


def test_a_network_of_convolutions_layer_by_layer():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Conv2d(8, 16, (3, 2), stride=2, padding=1, groups=2, bias=False)
    )
    summary = model.summary((1, 28, 28))
    assert columns(summary) == [
        ("", (16, 12, 13), 0, 0),
        ("0", (8, 24, 24), 208, 8 * 24 * 24 * 25),
        ("1", (8, 24, 24), 0, 0),
        ("2", (16, 12, 13), 16 * 4 * 6, 16 * 12 * 13 * 4 * 6),
    ]
    assert [row.layer for row in summary.rows] == ["Sequential", *map(repr, model)]
    assert summary.parameters == summary.trainable == 208 + 384
    assert summary.multiply_adds == 8 * 24 * 24 * 25 + 16 * 12 * 13 * 24
    assert summary.nbytes == 4 * summary.parameters


def test_a_lone_layer_and_a_sequence():
    assert columns(nn.Linear(3, 5).summary(3)) == columns(nn.Linear(3, 5).summary((3,))) == [("", (5,), 20, 15)]
    assert columns(nn.Linear(3, 5).summary([7, 3])) == [("", (7, 5), 20, 105)]
    assert columns(nn.Conv1d(2, 3, 4).summary((2, 10))) == [("", (3, 7), 27, 3 * 7 * 8)]
    assert columns(nn.Sequential().summary(3)) == [("", (3,), 0, 0)]
    assert columns(nn.Tanh().summary(())) == [("", (), 0, 0)]


def test_nested_containers_have_dotted_names():
    model = nn.Sequential(
        nn.Sequential({"hidden": nn.Linear(4, 6), "bend": nn.Tanh()}),
        nn.Residual(nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6))),
        nn.Parallel(nn.Linear(6, 1), nn.Linear(6, 2)),
    )
    assert columns(model.summary(4)) == [
        ("", (3,), 0, 0),
        ("0", (6,), 0, 0),
        ("0.hidden", (6,), 30, 24),
        ("0.bend", (6,), 0, 0),
        ("1", (6,), 0, 0),
        ("1.body", (6,), 42, 36),
        ("1.shortcut", (6,), 0, 0),
        ("1.shortcut.0", (6,), 42, 36),
        ("2", (3,), 0, 0),
        ("2.0", (1,), 7, 6),
        ("2.1", (2,), 14, 12),
    ]


def test_a_siamese_body_counts_its_parameters_once_and_multiplies_twice():
    summary = nn.Sequential(nn.Siamese(nn.Linear(4, 3)), nn.Linear(6, 1)).summary((2, 4))
    assert columns(summary) == [
        ("", (1,), 0, 0),
        ("0", (6,), 0, 0),
        ("0.body", (3,), 15, 12),
        ("0.body", (3,), 0, 12),
        ("1", (1,), 7, 6),
    ]
    assert (summary.parameters, summary.multiply_adds, summary.nbytes) == (22, 30, 88)


def test_a_layer_in_several_places_has_a_row_for_each():
    relu, tied = nn.ReLU(), nn.Linear(4, 4)
    summary = nn.Sequential(tied, relu, tied, relu, nn.Linear(4, 2)).summary(4)
    assert [row.name for row in summary.rows] == ["", "0", "1", "2", "3", "4"]
    assert [row.parameters for row in summary.rows] == [0, 20, 0, 0, 0, 10]
    assert (summary.parameters, summary.multiply_adds) == (30, 40)


def test_modules_of_ones_own_are_in_the_table():
    model = nn.Sequential(nn.Linear(3, 4), Scale(), Block())
    summary = model.summary(3)
    assert columns(summary) == [
        ("", (2,), 0, 0),
        ("0", (4,), 16, 12),
        ("1", (4,), 1, 0),
        ("2", (2,), 0, 0),
        ("2.first", (4,), 20, 16),
        ("2.first", (4,), 0, 16),
        ("2.last", (2,), 10, 8),
        ("2.unused", None, 45, 0),
    ]
    assert [row.layer for row in summary.rows[2:4]] == ["Scale()", "Block"]
    assert summary.parameters == sum(row.parameters for row in summary.rows) == sum(p.size for p in model.parameters())


def test_a_module_may_show_what_it_multiplies():
    class Product(nn.Module):
        def forward(self, x):
            return np.repeat(x, 5, axis=1)

        def multiply_adds(self, input_shape, output_shape):
            assert (input_shape, output_shape) == ((1, 3), (1, 15))
            return 7

    class Doubled(nn.Linear):
        def __init__(self, n):
            super().__init__(n, 2 * n)

    summary = nn.Sequential(Product(), Doubled(15)).summary(3)
    assert [(row.layer, row.multiply_adds) for row in summary.rows[1:]] == [("Product()", 7), ("Doubled(...)", 450)]


def test_an_output_that_is_no_array_has_no_shape():
    class Both(nn.Module):
        def forward(self, x):
            return x, x

    class Sum(nn.Module):
        def forward(self, pair):
            return pair[0] + pair[1]

    assert [row.output_shape for row in nn.Sequential(Both(), Sum()).summary(3).rows] == [(3,), None, (3,)]


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4, rng=0), Scale(), nn.Sequential(nn.Tanh()))
    model[2].eval()
    x = np.ones((2, 3), np.float32)
    y = model(x)
    model.backward(y)
    state, gradients = model.state_dict(), [p.grad.copy() for p in model.parameters()]
    attributes = [set(vars(module)) for module in model.modules()]
    before, kept_x, calls = pickle.dumps(model), model[1].x, model[1].calls
    model.summary(3)
    assert [module.training for module in model.modules()] == [True, True, True, False, False]
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert model[1].x is kept_x
    assert (model[1].calls, model[1].modes) == (calls, [True])
    assert pickle.dumps(model) == before
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    model.zero_grad()
    model(x)
    model.backward(y)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        np.testing.assert_array_equal(parameter.grad, gradient)


def test_it_runs_once_on_one_sample_of_zeros_in_evaluation_mode_and_keeps_nothing():
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append((x.shape, x.dtype, x.any(), self.training, nn.is_grad_enabled()))
            return x

    nn.Sequential(Watched(), nn.Linear(3, 2, dtype=np.float64)).summary(3)
    assert seen == [((1, 3), np.float64, False, False, False)]
    assert nn.is_grad_enabled()


def test_zeros_that_divide_by_zero_are_no_warning():
    class Normed(nn.Module):
        def forward(self, x):
            return x / x.std()

    assert columns(Normed().summary(3)) == [("", (3,), 0, 0)]


def test_frozen_parameters_and_buffers_count():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, dtype=np.float64))
    model[0].requires_grad_(False)
    model[1].register_buffer("steps", np.zeros(5, np.int64))
    model[0].astype(np.float64)
    summary = model.summary(3)
    assert (summary.parameters, summary.trainable, summary.nbytes) == (26, 10, 26 * 8 + 40)
    assert str(summary).endswith("26 parameters, 16 of them frozen; 248 bytes")


def test_it_is_printed_as_a_table():
    model = nn.Sequential(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.Conv2d(8, 16, 5))
    summary = model.summary((1, 28, 28))
    assert str(summary) == repr(summary)
    assert str(summary).split("\n") == [
        "name   layer             output        parameters  multiply-adds",
        "       Sequential        (16, 20, 20)           0              0",
        "0      Conv2d(1, 8, 5)   (8, 24, 24)          208        115,200",
        "1      ReLU()            (8, 24, 24)            0              0",
        "2      Conv2d(8, 16, 5)  (16, 20, 20)       3,216      1,280,000",
        "total                                       3,424      1,395,200",
        "3,424 parameters; 13,696 bytes",
    ]


def test_other_threads_may_use_the_model_meanwhile():
    model, x, stop, wrong = (
        nn.Sequential(nn.Linear(3, 4, rng=0), Scale()),
        np.ones((2, 3), np.float32),
        threading.Event(),
        [],
    )
    want = model(x)

    @nn.no_grad()
    def predict():
        while not stop.is_set():
            wrong.append((model(x) != want).any())

    thread = threading.Thread(target=predict)
    thread.start()
    for _ in range(50):
        assert len(model[:1].summary(3).rows) == 2
    stop.set()
    thread.join()
    assert wrong
    assert not any(wrong)


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ("3", TypeError),
        (None, TypeError),
        (3.0, TypeError),
        (True, TypeError),
        ((3, 1.5), TypeError),
        ((3, False), TypeError),
        (np.ones(2, int), TypeError),
        (0, ValueError),
        ((3, -1), ValueError),
        ((2**40, 2**40), ValueError),
        (10**30, ValueError),
    ],
    ids=str,
)
def test_a_shape_that_is_none_is_refused_in_one_sentence(shape, error):
    with pytest.raises(error, match=r"^summary: expected .*, got ") as caught:
        nn.ReLU().summary(shape)
    assert "\n" not in str(caught.value)


def test_a_shape_that_a_layer_cannot_take_is_that_layers_error():
    with pytest.raises(ValueError, match=r"^Linear\(3, 4\): expected input of shape \(\.\.\., 3\), got \(1, 5\)"):
        nn.Sequential(nn.ReLU(), nn.Linear(3, 4)).summary(5)


class Twice(nn.Module):
    """A layer in Python, so that the model is run to find the shapes."""

    def forward(self, x):
        return x * 2


HUGE = {
    "rows": (nn.Sequential(nn.ReLU(), nn.Softmax(), nn.Flatten(), nn.Dropout(0.5)), (2**31,), (2**31,)),
    "linear": (nn.Linear(1, 3), (2**31, 1), (2**31, 3)),
    "images": (
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)
        ),
        (1, 2**16, 2**14),
        (4, 1, 1),
    ),
    "containers": (nn.Sequential(nn.Residual(nn.Tanh()), nn.Parallel(nn.ReLU(), nn.Identity())), (2**31,), (2**32,)),
    "several": (nn.Siamese(nn.Linear(1, 2)), (2, 2**30, 1), None),
}


@pytest.mark.parametrize("name", HUGE)
def test_shapes_are_found_without_memory_for_them(name):
    model, input_shape, output_shape = HUGE[name]
    tracemalloc.start()
    rows = model.summary(input_shape).rows
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20
    if output_shape is not None:
        assert rows[0].output_shape == output_shape


def test_what_has_to_be_run_is_not_run_on_a_huge_sample():
    for model in (Twice(), nn.Sequential(nn.ReLU(), Twice())):
        with pytest.raises(
            ValueError, match=r"at most 1073741824 bytes for a model that has to be run, as Twice is a module in"
        ):
            model.summary(2**31)
    with pytest.raises(ValueError, match="summary: expected an input_shape of at most"):
        nn.Linear(3, 2).summary(2**31)


def in_python(model):
    """A model of the same shapes and names that has to be run."""
    model = copy.deepcopy(model)
    for module in model.modules():
        vars(module)["forward"] = module.forward
    return model


@pytest.mark.parametrize("name", [name for name in HUGE if name != "several"])
def test_a_plan_and_a_run_give_one_table(name):
    model, input_shape, _ = HUGE[name]
    small = tuple(min(size, 6) for size in input_shape)
    assert model.summary(small) == in_python(model).summary(small)


LAYERS = [case for case in CASES if issubclass(case.subject, nn.Module) and not issubclass(case.subject, nn.Loss)]


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_each_case_has_one_table_by_plan_and_by_run(case):
    for shape in {shape[1:] for shape in case.shapes if shape[1:] and 0 not in shape[1:]}:
        model = case.make(np.float32)
        try:
            table = in_python(model).summary(shape)
        except ValueError:  # a batch of one, or no axis for samples
            continue
        assert model.summary(shape) == table


def test_long_rows_take_time_that_grows_with_their_length():
    model = in_python(nn.Sequential(*[nn.ReLU() for _ in range(3000)]))
    assert [row.name for row in model.summary(2).rows] == ["", *map(str, range(3000))]


def test_parameters_of_ones_own_are_read_as_in_a_trace():
    class Scaled(nn.Module):
        def __init__(self):
            self.body, self.scale = nn.Linear(3, 2), nn.Parameter(np.ones(2, np.float32))

        def forward(self, x):
            return self.body(x) * self.scale

    assert columns(Scaled().summary(3)) == [("", (2,), 2, 0), ("body", (2,), 8, 6)]


class Two(nn.Module):
    def __init__(self):
        self.left, self.right = nn.Linear(3, 4), nn.Linear(5, 4)

    def forward(self, a, b):
        return self.left(a) + self.right(b)


class Table(nn.Module):
    def __init__(self):
        self.table, self.body = nn.Parameter(np.ones((7, 2), np.float32)), Two()

    def forward(self, ids, a):
        h = self.table[ids]
        return self.body(a=a, b=np.concatenate([h, a], axis=1))


@pytest.mark.parametrize("shapes", [((3,), (5,)), [(3,), [5]], {"b": 5, "a": (3,)}, {"a": np.ones((9, 3)), "b": (5,)}])
def test_several_inputs_have_a_shape_each(shapes):
    rows = Two().summary(shapes).rows
    assert [(row.name, row.output_shape, row.parameters, row.multiply_adds) for row in rows] == [
        ("", (4,), 0, 0),
        ("left", (4,), 16, 12),
        ("right", (4,), 24, 20),
    ]


@pytest.mark.parametrize("shapes", [(np.arange(3), (3,)), {"a": 3, "ids": np.zeros(1, np.uint8)}])
def test_an_array_of_integers_stands_for_indices(shapes):
    rows = Table().summary(shapes).rows
    assert [(row.name, row.output_shape) for row in rows] == [
        ("", (4,)),
        ("body", (4,)),
        ("body.left", (4,)),
        ("body.right", (4,)),
    ]


@pytest.mark.parametrize("shapes", [((3,), "x"), {"a": -1}, ((3,), 5.0), {}, np.float32(3)], ids=repr)
def test_shapes_that_are_none_are_refused(shapes):
    with pytest.raises((TypeError, ValueError), match="the shape of one sample"):
        Two().summary(shapes)
