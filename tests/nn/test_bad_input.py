"""Bad input: what cannot be used is refused in one sentence that tells what was expected and what came."""

import numpy as np
import pytest

import fastdl
from fastdl import nn, optim
from fastdl.nn import Parameter, init

LAYERS = (
    nn.Linear(4, 3, rng=0),
    nn.Linear(4, 3, bias=False, rng=0),
    nn.ReLU(),
    nn.LeakyReLU(0.2),
    nn.ELU(),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Softplus(),
    nn.Softmax(),
    nn.LogSoftmax(0),
    nn.Flatten(),
    nn.Activation(np.sin, np.cos),
    nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU()),
    nn.Residual(nn.Linear(4, 4, rng=0)),
    nn.Parallel(nn.Linear(4, 3, rng=0), nn.Tanh()),
)


def one_sentence(error, start):
    message = str(error.value)
    assert message.startswith(start), message
    assert ": expected " in message, message
    assert "got" in message, message
    assert "\n" not in message, message


# Constructors.

SIZES = [
    (0, ValueError), (-1, ValueError), (True, TypeError), (np.True_, TypeError), (2.0, TypeError), (np.float64(2), TypeError),
    ("2", TypeError), (None, TypeError), ([2], TypeError), (np.array([2]), TypeError), (np.nan, TypeError), (1j, TypeError),
]  # fmt: skip
NUMBERS = [
    (np.nan, ValueError), (np.inf, ValueError), (-np.inf, ValueError), (10**400, ValueError), ("0.1", TypeError),
    (None, TypeError), (True, TypeError), ([0.1], TypeError), (1j, TypeError), (np.array(0.1), TypeError),
]  # fmt: skip
NOT_NEGATIVE = [*NUMBERS, (-0.1, ValueError), (-1, ValueError)]
SWITCHES = [(1, TypeError), ("yes", TypeError), (None, TypeError), (0.0, TypeError)]
REDUCTIONS = [
    ("median", ValueError),
    ("MEAN", ValueError),
    ("", ValueError),
    (None, TypeError),
    (1, TypeError),
    (["sum"], TypeError),
]
WEIGHTS = [
    ([np.nan, 1.0], ValueError), ([np.inf, 1.0], ValueError), (["a", "b"], TypeError),
    ([None, 1.0], TypeError), ([1j, 1.0], TypeError), ([True, False], TypeError), ({}, TypeError),
]  # fmt: skip
MODULES = [
    (1, TypeError),
    (None, TypeError),
    (nn.ReLU, TypeError),
    ("ReLU", TypeError),
    (np.tanh, TypeError),
    ({}, TypeError),
]


def params():
    return [Parameter(np.zeros(2))]


def optimizer():
    return optim.SGD(params(), lr=0.1)


CONSTRUCTORS = {
    "Linear in_features": (lambda v: nn.Linear(v, 2), SIZES),
    "Linear out_features": (lambda v: nn.Linear(2, v), SIZES),
    "Linear bias": (lambda v: nn.Linear(2, 2, v), SWITCHES),
    "Linear weight_init": (
        lambda v: nn.Linear(2, 2, weight_init=v),
        [(np.zeros, TypeError), (init.zeros, TypeError), ("zeros", TypeError)],
    ),
    "Linear bias_init": (lambda v: nn.Linear(2, 2, bias_init=v), [(0.0, TypeError), (init.xavier_normal, TypeError)]),
    "LeakyReLU negative_slope": (nn.LeakyReLU, NUMBERS),
    "ELU alpha": (nn.ELU, NUMBERS),
    "Softplus beta": (nn.Softplus, [*NOT_NEGATIVE, (0, ValueError)]),
    "Softplus threshold": (lambda v: nn.Softplus(1.0, v), NUMBERS),
    "GELU approximate": (nn.GELU, [("erf", ValueError), (None, TypeError), (True, TypeError)]),
    "Softmax dim": (nn.Softmax, [(None, TypeError), (1.0, TypeError), (True, TypeError), ("0", TypeError)]),
    "LogSoftmax dim": (nn.LogSoftmax, [((0,), TypeError), (np.array([0]), TypeError), (np.False_, TypeError)]),
    "Activation function": (
        lambda v: nn.Activation(v, np.cos),
        [("sin", TypeError), (None, TypeError), (1.0, TypeError)],
    ),
    "Activation derivative": (
        lambda v: nn.Activation(np.sin, v),
        [("cos", TypeError), ([np.cos], TypeError), (1.0, TypeError)],
    ),
    "Sequential": (nn.Sequential, [(v, e) for v, e in MODULES if v != {}]),
    "Sequential mapping": (lambda v: nn.Sequential({"a": v}), MODULES),
    "Sequential name": (
        lambda v: nn.Sequential({v: nn.ReLU()}),
        [("", ValueError), ("a.b", ValueError), (1, ValueError)],
    ),
    "Sequential append": (lambda v: nn.Sequential().append(v), MODULES),
    "Residual body": (nn.Residual, MODULES),
    "Residual shortcut": (lambda v: nn.Residual(nn.ReLU(), v), [(v, e) for v, e in MODULES if v is not None]),
    "Parallel": (nn.Parallel, MODULES),
    "Parallel of nothing": (lambda v: nn.Parallel(*v), [((), ValueError)]),
    "Siamese body": (nn.Siamese, MODULES),
    "MSELoss reduction": (nn.MSELoss, REDUCTIONS),
    "MAELoss reduction": (nn.MAELoss, REDUCTIONS),
    "HuberLoss reduction": (nn.HuberLoss, REDUCTIONS),
    "HuberLoss delta": (lambda v: nn.HuberLoss(delta=v), [*NOT_NEGATIVE, (0.0, ValueError)]),
    "BCELoss weight": (nn.BCELoss, WEIGHTS),
    "BCELoss reduction": (lambda v: nn.BCELoss(reduction=v), REDUCTIONS),
    "BCEWithLogitsLoss weight": (nn.BCEWithLogitsLoss, WEIGHTS),
    "BCEWithLogitsLoss pos_weight": (lambda v: nn.BCEWithLogitsLoss(pos_weight=v), WEIGHTS),
    "NLLLoss weight": (nn.NLLLoss, [*WEIGHTS, ([[1.0]], ValueError), (1.0, ValueError)]),
    "NLLLoss ignore_index": (
        lambda v: nn.NLLLoss(ignore_index=v),
        [(1.0, TypeError), (True, TypeError), (None, TypeError), ("1", TypeError), (2**63, ValueError)],
    ),
    "CrossEntropyLoss weight": (nn.CrossEntropyLoss, [*WEIGHTS, ([[1.0]], ValueError)]),
    "CrossEntropyLoss label_smoothing": (
        lambda v: nn.CrossEntropyLoss(label_smoothing=v),
        [*NOT_NEGATIVE, (1.1, ValueError)],
    ),
    "CrossEntropyLoss reduction": (lambda v: nn.CrossEntropyLoss(reduction=v), REDUCTIONS),
    "SGD lr": (lambda v: optim.SGD(params(), lr=v), NOT_NEGATIVE),
    "SGD momentum": (lambda v: optim.SGD(params(), momentum=v), NOT_NEGATIVE),
    "SGD dampening": (lambda v: optim.SGD(params(), dampening=v), NOT_NEGATIVE),
    "SGD weight_decay": (lambda v: optim.SGD(params(), weight_decay=v), NOT_NEGATIVE),
    "SGD nesterov": (lambda v: optim.SGD(params(), momentum=0.9, nesterov=v), SWITCHES),
    "SGD maximize": (lambda v: optim.SGD(params(), maximize=v), SWITCHES),
    "SGD decoupled_weight_decay": (lambda v: optim.SGD(params(), decoupled_weight_decay=v), SWITCHES),
    "RMSprop lr": (lambda v: optim.RMSprop(params(), lr=v), NOT_NEGATIVE),
    "RMSprop alpha": (lambda v: optim.RMSprop(params(), alpha=v), [*NOT_NEGATIVE, (1.1, ValueError)]),
    "RMSprop eps": (lambda v: optim.RMSprop(params(), eps=v), NOT_NEGATIVE),
    "RMSprop momentum": (lambda v: optim.RMSprop(params(), momentum=v), NOT_NEGATIVE),
    "RMSprop centered": (lambda v: optim.RMSprop(params(), centered=v), SWITCHES),
    "RMSprop eps_inside_sqrt": (lambda v: optim.RMSprop(params(), eps_inside_sqrt=v), SWITCHES),
    "Adam lr": (lambda v: optim.Adam(params(), lr=v), NOT_NEGATIVE),
    "Adam beta1": (lambda v: optim.Adam(params(), betas=(v, 0.9)), [*NOT_NEGATIVE, (1.0, ValueError)]),
    "Adam beta2": (lambda v: optim.Adam(params(), betas=(0.9, v)), [*NOT_NEGATIVE, (1.0, ValueError)]),
    "Adam betas": (
        lambda v: optim.Adam(params(), betas=v),
        [(0.9, TypeError), ((0.9,), TypeError), ("09", TypeError), (None, TypeError)],
    ),
    "Adam amsgrad": (lambda v: optim.Adam(params(), amsgrad=v), SWITCHES),
    "AdamW weight_decay": (lambda v: optim.AdamW(params(), weight_decay=v), NOT_NEGATIVE),
    "SGD params": (
        optim.SGD,
        [
            (5, TypeError),
            (None, TypeError),
            (Parameter(np.zeros(1)), TypeError),
            ([1.0], TypeError),
            ([np.zeros(3)], TypeError),
            (nn.Linear(1, 1), TypeError),
            (nn.Sequential(nn.ReLU()), TypeError),
            ([], ValueError),
            ("weights", TypeError),
            ({"params": params()}, TypeError),
        ],
    ),
    "SGD group": (
        lambda v: optim.SGD([v]),
        [
            ({"params": 5}, TypeError),
            ({"params": [5]}, TypeError),
            ({"lr": 1.0}, ValueError),
            ({"params": params(), "rate": 1.0}, ValueError),
            ({"params": []}, ValueError),
            ({"params": params(), "lr": np.nan}, ValueError),
        ],
    ),
    "StepLR optimizer": (lambda v: optim.StepLR(v, 1), [(None, TypeError), (0.1, TypeError), (optim.SGD, TypeError)]),
    "StepLR step_size": (lambda v: optim.StepLR(optimizer(), v), SIZES),
    "StepLR gamma": (lambda v: optim.StepLR(optimizer(), 1, v), NOT_NEGATIVE),
    "ExponentialLR gamma": (lambda v: optim.ExponentialLR(optimizer(), v), NOT_NEGATIVE),
    "CosineAnnealingLR T_max": (lambda v: optim.CosineAnnealingLR(optimizer(), v), SIZES),
    "CosineAnnealingLR eta_min": (lambda v: optim.CosineAnnealingLR(optimizer(), 5, v), NOT_NEGATIVE),
    "CosineAnnealingLR warmup": (
        lambda v: optim.CosineAnnealingLR(optimizer(), 5, warmup=v),
        [(v, e) for v, e in SIZES if not isinstance(v, int) or v] + [(False, TypeError), (5, ValueError)],
    ),
    "ReduceLROnPlateau patience": (
        lambda v: optim.ReduceLROnPlateau(optimizer(), patience=v),
        [(-1, ValueError), (False, TypeError), (None, TypeError), (1.0, TypeError), ("", TypeError)],
    ),
    "ReduceLROnPlateau cooldown": (
        lambda v: optim.ReduceLROnPlateau(optimizer(), cooldown=v),
        [(-1, ValueError), (0.0, TypeError)],
    ),
    "ReduceLROnPlateau factor": (
        lambda v: optim.ReduceLROnPlateau(optimizer(), factor=v),
        [*NOT_NEGATIVE, (1.0, ValueError)],
    ),
    "ReduceLROnPlateau mode": (
        lambda v: optim.ReduceLROnPlateau(optimizer(), v),
        [("low", ValueError), (None, TypeError)],
    ),
    "ReduceLROnPlateau threshold_mode": (
        lambda v: optim.ReduceLROnPlateau(optimizer(), threshold_mode=v),
        [("x", ValueError)],
    ),
    "set_num_threads": (
        fastdl.set_num_threads,
        [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError)],
    ),
    "set_winograd": (
        fastdl.set_winograd,
        [(0, TypeError), (1, TypeError), (None, TypeError), ("0", TypeError)],
    ),
    "manual_seed": (
        fastdl.manual_seed,
        [(-1, ValueError), (True, TypeError), (1.5, TypeError), ("1", TypeError), (None, TypeError)],
    ),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_a_constructor_refuses_what_it_cannot_use(each, name):
    make, values = CONSTRUCTORS[name]
    for value, error in each(refused=values):
        with pytest.raises(error) as caught:
            make(value)
        one_sentence(caught, name.split()[0])


@pytest.mark.parametrize("dtype", [np.float16, np.int32, complex, "nonsense", None, ">f4", object, 5])
def test_a_layer_has_float32_or_float64_weights(dtype):
    with pytest.raises(TypeError, match="Linear: expected dtype float32 or float64, got"):
        nn.Linear(2, 2, dtype=dtype)


@pytest.mark.parametrize(
    ("rng", "error"), [(-1, ValueError), (True, TypeError), (0.5, TypeError), ("seed", TypeError), ([1], TypeError)]
)
def test_a_generator_is_a_seed_or_a_generator(rng, error):
    with pytest.raises(error, match="rng: expected"):
        nn.Linear(2, 2, rng=rng)
    with pytest.raises(error, match="rng: expected"):
        nn.Linear(2, 2).reset_parameters(rng)


@pytest.mark.parametrize("sizes", [(2**40, 2**40), (10**30, 1), (1, 2**63), (2**31, 2**31)])
def test_sizes_whose_product_overflows_are_refused_before_anything_is_allocated(sizes):
    with pytest.raises(ValueError, match="Linear: expected sizes whose product memory can hold, got"):
        nn.Linear(*sizes)


def test_a_parameter_stands_once_in_an_optimizer():
    p = Parameter(np.zeros(1))
    with pytest.raises(ValueError, match="SGD: expected each parameter once, got one in two places"):
        optim.SGD([p, p])
    with pytest.raises(ValueError, match="SGD: expected each parameter once, got one in two places"):
        optim.SGD([{"params": p}, {"params": [p]}])


def test_parameters_of_an_optimizer_have_one_dtype():
    with pytest.raises(ValueError, match="SGD: expected parameters of one dtype, got float32 and float64"):
        optim.SGD([Parameter(np.zeros(1)), Parameter(np.zeros(1, dtype=np.float32))])


# Inputs and gradients of the wrong kind or shape.

KINDS = {
    "list": [[0.0] * 4] * 2,
    "None": None,
    "float": 1.0,
    "string": "abcd",
    "dictionary": {},
    "int64": np.zeros((2, 4), dtype=np.int64),
    "uint8": np.zeros((2, 4), dtype=np.uint8),
    "bool": np.zeros((2, 4), dtype=bool),
    "float16": np.zeros((2, 4), dtype=np.float16),
    "long double": np.zeros((2, 4), dtype=np.longdouble),
    "complex": np.zeros((2, 4), dtype=np.complex64),
    "object": np.zeros((2, 4), dtype=object),
    "text": np.full((2, 4), "a"),
    "dates": np.zeros((2, 4), dtype="M8[s]"),
    "records": np.zeros((2, 4), dtype=[("a", "f4")]),
    "void": np.zeros((2, 4), dtype="V4"),
}


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_an_input_that_is_no_floating_array_is_a_type_error_that_says_what_to_write(each, layer):
    for kind in each(kind=KINDS):
        with pytest.raises(TypeError, match=r"write (x\.astype|grad_output\.astype|np\.asarray)") as caught:
            layer(KINDS[kind])
        one_sentence(caught, inner_spec(layer))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_gradient_that_is_no_floating_array_is_a_type_error_that_says_what_to_write(each, layer):
    for kind in each(kind=KINDS):
        layer(np.zeros((2, 4), dtype=np.float32))
        with pytest.raises(TypeError, match=r"write (x\.astype|grad_output\.astype|np\.asarray)"):
            layer.backward(KINDS[kind])


def inner_spec(layer):
    """The spelling of the first layer that looks at the input."""
    while list(layer.children()):
        layer = next(layer.children())
    return layer.spec()


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if list(layer.parameters())], ids=str)
def test_a_dtype_other_than_the_weights_is_a_type_error(layer):
    with pytest.raises(TypeError, match=r"array of float32 for x, got float64; write x\.astype\(np\.float32\)"):
        layer(np.zeros((2, 4)))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_gradient_of_another_dtype_is_a_type_error(layer):
    layer(np.zeros((2, 4), dtype=np.float32))
    with pytest.raises(TypeError, match="expected an array of float32 for grad_output, got float64"):
        layer.backward(np.zeros((2, 4)))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 5), (4, 0), (2, 4, 1)])
def test_linear_names_the_shape_it_expects(shape):
    with pytest.raises(ValueError, match=r"^Linear\(4, 3\): expected input of shape \(\.\.\., 4\), got ") as caught:
        nn.Linear(4, 3)(np.zeros(shape, dtype=np.float32))
    assert str(caught.value).endswith(str(shape))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_gradient_of_another_shape_is_a_value_error(each, layer):
    for shape in each(shape=[(), (2,), (3, 2), (2, 3, 1), (0, 3), (6,)]):
        y = layer(np.zeros((2, 4), dtype=np.float32))
        assert shape != y.shape
        with pytest.raises(ValueError, match="expected a gradient of shape") as caught:
            layer.backward(np.zeros(shape, dtype=np.float32))
        one_sentence(caught, "")


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_refused_gradient_leaves_the_gradients_of_the_parameters(layer):
    layer.zero_grad()
    layer(np.ones((2, 4), dtype=np.float32))
    with pytest.raises((ValueError, TypeError)):
        layer.backward(np.ones((2, 99), dtype=np.float32))
    assert not any(parameter.grad.any() for parameter in layer.parameters())


@pytest.mark.parametrize("layer", [nn.Softmax(2), nn.LogSoftmax(-3), nn.Softmax(10**30)], ids=str)
@pytest.mark.parametrize("shape", [(2, 4), (3,), ()])
def test_an_axis_that_is_not_there_is_a_value_error(layer, shape):
    with pytest.raises(ValueError) as caught:
        layer(np.zeros(shape))
    one_sentence(caught, layer.spec())


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (None, TypeError),
        (1.0, TypeError),
        ({}, TypeError),
        (np.zeros(3), ValueError),
        (np.zeros((2, 0, 4)), ValueError),
        ((), ValueError),
    ],
)
def test_siamese_wants_several_inputs(x, error):
    with pytest.raises(error) as caught:
        nn.Siamese(nn.Linear(4, 3))(x)
    one_sentence(caught, "Siamese(Linear(4, 3))")
