"""Options that are assigned after construction count from the next call on, as if they had been given to begin with."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((6, 8)).astype(np.float32)
IMAGES = RNG.standard_normal((4, 2, 8, 8)).astype(np.float32)
LINES = RNG.standard_normal((4, 2, 8)).astype(np.float32)
POOL = {"kernel_size": 2, "stride": 1, "padding": 1, "ceil_mode": True}
BCE = np.linspace(0.5, 2, 8)
# A class, an input, the arguments to begin with, and other values of its options.
LAYERS = [
    (nn.LeakyReLU, ROWS, {}, {"negative_slope": 0.5}),
    (nn.ELU, ROWS, {}, {"alpha": 2.0}),
    (nn.GELU, ROWS, {}, {"approximate": "tanh"}),
    (nn.GELU, ROWS, {"approximate": "tanh"}, {"approximate": "none"}),
    (nn.Softplus, ROWS, {}, {"beta": 2.0, "threshold": 0.1}),
    (nn.Dropout, ROWS, {}, {"p": 0.25}),
    (nn.Dropout2d, IMAGES, {}, {"p": 0.25}),
    (nn.Softmax, IMAGES, {}, {"dim": 1}),
    (nn.LogSoftmax, IMAGES, {}, {"dim": 2}),
    (nn.Flatten, IMAGES, {}, {"start_dim": 2, "end_dim": 2}),
    (nn.LayerNorm, ROWS, {"normalized_shape": 8}, {"eps": 1.0}),
    (nn.BatchNorm1d, ROWS, {"num_features": 8}, {"eps": 1.0, "momentum": 0.5}),
    (nn.BatchNorm1d, ROWS, {"num_features": 8}, {"momentum": None}),
    (nn.BatchNorm2d, IMAGES, {"num_features": 2}, {"eps": 1.0, "momentum": 0.5}),
    (nn.MaxPool2d, IMAGES, {"kernel_size": 3}, {**POOL, "dilation": 2}),
    (nn.MaxPool2d, IMAGES, {"kernel_size": 3, "stride": 2}, {"stride": None, "padding": (1, 0)}),
    (nn.AvgPool2d, IMAGES, {"kernel_size": 3}, {**POOL, "divisor_override": 3}),
    (nn.AvgPool2d, IMAGES, {"kernel_size": 3, "padding": 1, "divisor_override": 2}, {"divisor_override": None}),
    (nn.AvgPool2d, IMAGES, {"kernel_size": 3, "padding": 1}, {"count_include_pad": False}),
    (nn.MaxPool1d, LINES, {"kernel_size": 3}, {**POOL, "dilation": 2}),
    (nn.AvgPool1d, LINES, {"kernel_size": 3}, POOL),
    (nn.AvgPool1d, LINES, {"kernel_size": 3, "padding": 1}, {"count_include_pad": False}),
    (nn.AdaptiveAvgPool2d, IMAGES, {"output_size": 2}, {"output_size": (3, None)}),
    (nn.Conv2d, IMAGES, {"in_channels": 2, "out_channels": 4, "kernel_size": 3, "rng": 0}, {"stride": 2, "padding": 1}),
    (nn.Conv2d, IMAGES, {"in_channels": 2, "out_channels": 4, "kernel_size": 3, "rng": 0}, {"dilation": 2}),
    (nn.Conv2d, IMAGES, {"in_channels": 2, "out_channels": 4, "kernel_size": 3, "rng": 0}, {"padding": "same"}),
    (nn.Conv1d, LINES, {"in_channels": 2, "out_channels": 4, "kernel_size": 3, "rng": 0}, {"stride": 2, "padding": 1}),
]
EACH_LAYER = [(kind, x, own, {name: value}) for kind, x, own, others in LAYERS for name, value in others.items()]
# A class, an output, a target, and other values of its options.
CLASSES = RNG.integers(0, 8, 6)
LOSSES = [
    (nn.MSELoss, ROWS, {"reduction": "sum"}),
    (nn.MAELoss, ROWS, {"reduction": "batchmean"}),
    (nn.HuberLoss, ROWS, {"delta": 0.25, "reduction": "sum"}),
    (nn.BCELoss, 1 / (1 + np.exp(ROWS)), {"weight": BCE, "reduction": "sum"}),
    (nn.BCEWithLogitsLoss, 1 / (1 + np.exp(ROWS)), {"weight": BCE, "pos_weight": BCE, "reduction": "sum"}),
    (nn.NLLLoss, CLASSES, {"weight": BCE, "ignore_index": int(CLASSES[0]), "reduction": "sum"}),
    (
        nn.CrossEntropyLoss,
        CLASSES,
        {"weight": BCE, "ignore_index": int(CLASSES[0]), "reduction": "sum", "label_smoothing": 0.25},
    ),
]
EACH_LOSS = [(kind, y, {name: value}) for kind, y, others in LOSSES for name, value in others.items()]
MOMENTS = ["before any call", "after calls", "after a fit"]


def name_of(case):
    return f"{case[0].__name__}.{next(iter(case[-1]))}"


def in_row(layer, x):
    """A model that ends in the layer, with a parameter before it."""
    before = nn.Linear(x.shape[-1], x.shape[-1], rng=1)
    return nn.Sequential(before, layer)


def fitted(model, criterion, x, y):
    trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.05))
    return trainer, trainer.fit(x, y, epochs=2, batch_size=len(x), seed=3, shuffle=False)


def use(model, criterion, x, y, moment):
    """What has happened to a model and a criterion before the option is assigned; weights are as they were."""
    state = model.state_dict()
    if moment == "after calls":
        for _ in range(5):
            loss = criterion(model(x), y)
            model.backward(criterion.backward() if np.ndim(loss) == 0 else criterion.backward(np.ones_like(loss)))
    if moment == "after a fit":
        fitted(model, criterion, x, y)
    model.load_state_dict(state)
    model.zero_grad()


def same(one, other):
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def run(model, criterion, x, y):
    fastdl.manual_seed(5)
    output = model(x)
    loss = criterion(output, y)
    return output, loss, model.backward(criterion.backward()), [p.grad.copy() for p in model.parameters()]


def assert_alike(model, criterion, wanted, wanted_criterion, x, y):
    for found, right in zip(run(model, criterion, x, y), run(wanted, wanted_criterion, x, y), strict=True):
        for each, other in zip(found, right, strict=True) if isinstance(found, list) else [(found, right)]:
            same(each, other)
    for each in (model, wanted):
        each.zero_grad()
    assert [repr(model), repr(criterion)] == [repr(wanted), repr(wanted_criterion)]
    _, history = fitted(model, criterion, x, y)
    _, right = fitted(wanted, wanted_criterion, x, y)
    assert (history.engine, history["loss"]) == (right.engine, right["loss"])
    for name, array in model.state_dict().items():
        same(array, wanted.state_dict()[name])


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("case", EACH_LAYER, ids=name_of)
def test_an_option_of_a_layer_counts_from_the_next_call_on(case, moment, tmp_path):
    kind, x, own, other = case
    (name, value), criterion = next(iter(other.items())), nn.MSELoss()
    layer, wanted = kind(**own), kind(**(own | other))
    model, right = in_row(layer, x), in_row(wanted, x)
    use(model, criterion, x, np.zeros_like(model(x)), moment)
    if moment == "before any call":
        layer = kind(**own)
        model = in_row(layer, x)
    else:
        right.load_state_dict(model.state_dict())
    setattr(layer, name, value)
    y = np.zeros_like(copy.deepcopy(right)(x))
    fastdl.save(model, tmp_path / "model.safetensors")
    copies = copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    loaded = fastdl.load(tmp_path / "model.safetensors").model
    for each in (*copies[1:], loaded, copies[0], model):
        twin = copy.deepcopy(right)
        if each is copies[0]:
            same(each.eval()(x), twin.eval()(x))
            each.train()
            continue
        assert_alike(each, nn.MSELoss(), twin, nn.MSELoss(), x, y)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("case", EACH_LOSS, ids=name_of)
def test_an_option_of_a_loss_counts_from_the_next_call_on(case, moment):
    kind, y, other = case
    (name, value), x = next(iter(other.items())), ROWS
    y = y.astype(np.float32) if y.dtype.kind == "f" else y
    last = {nn.BCELoss: nn.Sigmoid(), nn.NLLLoss: nn.LogSoftmax()}.get(kind, nn.Tanh())
    model, criterion, wanted = in_row(last, x), kind(), kind(**other)
    use(model, criterion, x, y, moment)
    setattr(criterion, name, value)
    for each in (copy.copy(criterion), copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion)), criterion):
        assert_alike(copy.deepcopy(model), each, copy.deepcopy(model), wanted, x, y)


@pytest.mark.parametrize("case", EACH_LOSS, ids=name_of)
def test_an_option_of_a_loss_counts_from_a_trainers_next_step_on(case):
    kind, y, other = case
    (name, value), x = next(iter(other.items())), ROWS
    y = y.astype(np.float32) if y.dtype.kind == "f" else y
    last = {nn.BCELoss: nn.Sigmoid(), nn.NLLLoss: nn.LogSoftmax()}.get(kind, nn.Tanh())
    losses = []
    for criterion, options in ((kind(), other), (kind(**other), {})):
        model = in_row(last, x)
        trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.0))
        for _ in range(4):
            trainer.step(x, y)
        for name, value in options.items():
            setattr(criterion, name, value)
        losses.append(trainer.step(x, y))
    assert losses[0] == losses[1]


WRONG = [
    (nn.LeakyReLU, {}, "negative_slope", "steep"),
    (nn.ELU, {}, "alpha", np.inf),
    (nn.GELU, {}, "approximate", "sine"),
    (nn.Softplus, {}, "beta", 0.0),
    (nn.Softplus, {}, "threshold", None),
    (nn.Dropout, {}, "p", 1.5),
    (nn.Softmax, {}, "dim", 0.5),
    (nn.Flatten, {}, "end_dim", True),
    (nn.LayerNorm, {"normalized_shape": 8}, "eps", -1.0),
    (nn.BatchNorm1d, {"num_features": 8}, "eps", -1.0),
    (nn.BatchNorm1d, {"num_features": 8}, "momentum", 2.0),
    (nn.MaxPool2d, {"kernel_size": 3}, "padding", 2),
    (nn.MaxPool2d, {"kernel_size": 3, "padding": 1}, "kernel_size", 1),
    (nn.MaxPool2d, {"kernel_size": 3}, "stride", 0),
    (nn.MaxPool1d, {"kernel_size": 3}, "dilation", 0),
    (nn.AvgPool2d, {"kernel_size": 3}, "ceil_mode", 1),
    (nn.AvgPool2d, {"kernel_size": 3}, "count_include_pad", 1),
    (nn.AvgPool2d, {"kernel_size": 3}, "divisor_override", 0),
    (nn.AdaptiveAvgPool2d, {"output_size": 3}, "output_size", (1, 2, 3)),
    (nn.MSELoss, {}, "reduction", "average"),
    (nn.HuberLoss, {}, "delta", -1.0),
    (nn.BCELoss, {}, "weight", [np.nan]),
    (nn.BCEWithLogitsLoss, {}, "pos_weight", "heavy"),
    (nn.NLLLoss, {}, "weight", np.ones((2, 2))),
    (nn.NLLLoss, {}, "ignore_index", 0.5),
    (nn.CrossEntropyLoss, {}, "label_smoothing", 2),
]


@pytest.mark.parametrize(("kind", "own", "name", "value"), WRONG, ids=lambda each: getattr(each, "__name__", None))
def test_an_assignment_is_refused_as_by_the_constructor_and_changes_nothing(kind, own, name, value):
    with pytest.raises((TypeError, ValueError)) as made:
        kind(**(own | {name: value}))
    layer = kind(**own)
    before = {each: copy.deepcopy(one) for each, one in vars(layer).items()}
    with pytest.raises((TypeError, ValueError)) as assigned:
        setattr(layer, name, value)
    assert (type(assigned.value), str(assigned.value)) == (type(made.value), str(made.value))
    assert repr(vars(layer)) == repr(before)


FIXED = [
    (nn.LayerNorm, {"normalized_shape": 8}, "elementwise_affine"),
    (nn.BatchNorm1d, {"num_features": 8}, "affine"),
    (nn.BatchNorm2d, {"num_features": 8}, "affine"),
]


@pytest.mark.parametrize(("kind", "own", "name"), FIXED, ids=lambda each: getattr(each, "__name__", None))
def test_what_decides_which_arrays_there_are_is_not_assigned_anew(kind, own, name):
    layer = kind(**own)
    setattr(layer, name, True)
    with pytest.raises(AttributeError, match=rf"{kind.__name__}: {name} decides whether there are .* make another"):
        setattr(layer, name, False)
    assert getattr(layer, name) is True


def test_statistics_that_are_let_stand_still_are_in_the_file(tmp_path):
    model = nn.Sequential(nn.BatchNorm1d(8))
    model(ROWS)
    model[0].track_running_stats = False
    before = model.state_dict()
    model(ROWS + 1)
    fitted(model, nn.MSELoss(), ROWS, ROWS)
    same(model.state_dict()["0.running_mean"], before["0.running_mean"])
    fastdl.save(model, tmp_path / "model.safetensors")
    same(fastdl.load(tmp_path / "model.safetensors").model.eval()(ROWS), model.eval()(ROWS))


def public(module):
    return {
        each
        for name, each in vars(module).items()
        if not name.startswith("_") and inspect.isclass(each) and issubclass(each, nn.Module)
    }


def test_every_option_is_known_here():
    """An argument of a constructor is assigned above, or has tests elsewhere: sizes of parameters, modules, functions."""
    known = {(kind, name) for kind, _, _, others in LAYERS for name in others}
    known |= {(kind, name) for kind, _, others in LOSSES for name in others} | {(kind, name) for kind, _, name in FIXED}
    elsewhere = {"bias", "weight_init", "bias_init", "rng", "dtype", "in_features", "out_features", "in_channels"}
    elsewhere |= {"out_channels", "num_features", "normalized_shape", "body", "shortcut", "layers", "branches"}
    elsewhere |= {"modules", "parameters", "function", "derivative", "track_running_stats"}
    missing = set()
    for kind in public(nn) - {nn.Module, nn.Loss}:
        for name in inspect.signature(kind).parameters:
            if name not in elsewhere and not any((base, name) in known for base in kind.__mro__):
                missing.add((kind.__name__, name))
    assert missing <= {(kind, name) for kind in ("Conv1d", "Conv2d") for name in ("kernel_size", "groups", "dilation")}


def test_options_of_a_subclass_that_assigns_none():
    class Without(nn.Loss):
        def __init__(self):
            pass

        def function(self, output, target):
            return np.abs(output - target)

    class Sum(nn.MSELoss):
        reduction = "sum"

        def __init__(self):
            pass

    one, zero = np.ones((2, 2)), np.zeros((2, 2))
    assert Without()(one, zero) == 1.0
    assert Sum()(one, zero) == 4.0
