"""Initializers: the distributions they name, and what they let through."""

import copy
import functools
import inspect
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdl.nn import init
from fastdl.nn.parameter import Parameter
from fastdl.random import manual_seed

OUT, IN, KERNEL = 60, 40, 25
SHAPE = (OUT, IN, 5, 5)
FAN_IN, FAN_OUT = IN * KERNEL, OUT * KERNEL
CUT = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
ALL = [init.constant(0.5)] + [make() for name, make in init.INITIALIZERS.items() if name != "constant"]
DRAWN = [i for i in ALL if i.name not in ("constant", "zeros", "ones")]


@functools.cache
def draw(initializer):
    return initializer(SHAPE, rng=0, dtype=np.float64)


@pytest.mark.parametrize(
    ("initializer", "mean", "std"),
    [
        (init.normal(), 0, 1),
        (init.normal(mean=-3, std=0.2), -3, 0.2),
        (init.uniform(), 0.5, 1 / math.sqrt(12)),
        (init.uniform(-2, 4), 1, 6 / math.sqrt(12)),
        (init.truncated_normal(), 0, CUT),
        (init.truncated_normal(mean=1, std=3, low=-5, high=7), 1, 3 * CUT),
        (init.truncated_normal(low=0, high=50), math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi)),
        (init.xavier_normal(), 0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.xavier_normal(gain=math.sqrt(1 / 2)), 0, math.sqrt(1 / (FAN_IN + FAN_OUT))),
        (init.xavier_normal(truncated=True), 0, CUT * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.xavier_uniform(gain=3), 0, 3 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        (init.kaiming_normal(), 0, math.sqrt(2 / FAN_IN)),
        (init.kaiming_normal(a=1, mode="fan_out"), 0, math.sqrt(1 / FAN_OUT)),
        (init.kaiming_normal(nonlinearity="tanh"), 0, 5 / 3 / math.sqrt(FAN_IN)),
        (init.kaiming_normal(truncated=True), 0, CUT * math.sqrt(2 / FAN_IN)),
        (init.kaiming_uniform(), 0, math.sqrt(2 / FAN_IN)),
        (init.kaiming_uniform(mode="fan_out", nonlinearity="linear"), 0, math.sqrt(1 / FAN_OUT)),
        (init.lecun_normal(), 0, math.sqrt(1 / FAN_IN)),
        (init.lecun_normal(gain=2, truncated=True), 0, 2 * CUT * math.sqrt(1 / FAN_IN)),
        (init.lecun_uniform(), 0, math.sqrt(1 / FAN_IN)),
        (init.lecun_uniform(gain=5 / 3), 0, 5 / 3 * math.sqrt(1 / FAN_IN)),
    ],
    ids=str,
)
def test_mean_and_deviation_are_the_named_ones(initializer, mean, std):
    values = draw(initializer)
    assert values.mean() == pytest.approx(mean, abs=5 * std / math.sqrt(values.size))
    assert values.std() == pytest.approx(std, rel=0.01)


@pytest.mark.parametrize(
    ("initializer", "low", "high"),
    [
        (init.uniform(-2, 4), -2, 4),
        (init.truncated_normal(mean=1, std=3, low=-5, high=6), -5, 6),
        (init.xavier_normal(truncated=True), *(np.array([-2, 2]) * math.sqrt(2 / (FAN_IN + FAN_OUT)))),
        (init.xavier_uniform(), *(np.array([-1, 1]) * math.sqrt(6 / (FAN_IN + FAN_OUT)))),
        (init.kaiming_uniform(a=math.sqrt(5)), *(np.array([-1, 1]) / math.sqrt(FAN_IN))),
        (init.lecun_uniform(), *(np.array([-1, 1]) * math.sqrt(3 / FAN_IN))),
    ],
    ids=str,
)
def test_a_bounded_distribution_fills_its_interval_and_no_more(initializer, low, high):
    values = draw(initializer)
    assert low <= values.min() < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < values.max() <= high


def test_a_normal_has_the_tails_of_a_normal():
    values = np.abs(draw(init.normal()))
    for deviations in (1, 2, 3):
        expected = math.erfc(deviations / math.sqrt(2))
        assert (values > deviations).mean() == pytest.approx(expected, abs=5 * math.sqrt(expected / values.size))


@pytest.mark.parametrize(("low", "high"), [(-2, 2), (-0.1, 0.3), (1, 2), (3, 50), (-1e9, -4), (0.5, 1e9)])
def test_a_truncated_normal_has_the_density_of_the_normal_within_the_cut(low, high):
    values = init.truncated_normal(low=low, high=high)(20_000, rng=0, dtype=np.float64)

    def beyond(x):  # without cancellation in either tail
        return math.erfc(x / math.sqrt(2)) if low > 0 else -math.erfc(-x / math.sqrt(2))

    for share in (0.1, 0.5, 0.9):
        x = np.quantile(values, share)
        exact = (beyond(low) - beyond(x)) / (beyond(low) - beyond(high))
        assert exact == pytest.approx(share, abs=0.02)
    assert low <= values.min() <= values.max() <= high


def test_a_truncated_normal_far_out_sits_at_its_nearest_end():
    assert init.truncated_normal(std=1e-9, low=1, high=2)(100, rng=0, dtype=np.float64) == pytest.approx(1)


def test_a_truncated_normal_beyond_all_numbers_is_refused():
    with pytest.raises(ValueError, match="finite number of deviations"):
        init.truncated_normal(std=1e-320, low=1, high=2)(3)


def test_constants_are_constant():
    assert (init.constant(-0.25)((2, 3)) == -0.25).all()
    assert (init.zeros()(4) == 0).all()
    assert (init.ones()(()) == 1).all()


@pytest.mark.parametrize("initializer", ALL, ids=str)
def test_float32_is_float64_rounded(initializer):
    single, double = initializer((7, 5), rng=1), initializer((7, 5), rng=1, dtype="float64")
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    assert (single == double.astype(np.float32)).all()


@pytest.mark.parametrize("initializer", DRAWN, ids=str)
def test_the_seed_decides(initializer):
    assert (initializer((7, 5), rng=1) == initializer((7, 5), rng=np.random.default_rng(1))).all()
    assert (initializer((7, 5), rng=1) != initializer((7, 5), rng=2)).any()
    manual_seed(1)
    assert (initializer((7, 5)) == initializer((7, 5), rng=1)).all()


@pytest.mark.parametrize("initializer", ALL, ids=str)
def test_nothing_is_drawn_for_an_empty_shape(initializer):
    rng = np.random.default_rng(0)
    assert initializer((0, 3), rng).shape == (0, 3)
    assert initializer((3, 0), rng).shape == (3, 0)
    assert rng.random() == np.random.default_rng(0).random()


def test_apply_fills_a_parameter_where_it_lies():
    parameter = Parameter(np.zeros((4, 3)))
    data = parameter.data
    init.xavier_normal().apply(parameter, rng=0)
    assert parameter.data is data
    assert (data == init.xavier_normal()((4, 3), rng=0, dtype=np.float64)).all()


def test_apply_fills_an_array_of_any_layout():
    array = np.zeros((3, 4), np.float32).T
    init.uniform().apply(array, rng=0)
    assert (array == init.uniform()((4, 3), rng=0)).all()


def test_a_call_with_a_parameter_names_apply():
    with pytest.raises(TypeError, match=r"^ones\(\): expected a shape.*; write ones\(\)\.apply\(\.\.\.\) to fill it$"):
        init.ones()(Parameter(np.zeros(2)))  # pyright: ignore[reportArgumentType]


def test_apply_refuses_what_it_cannot_fill():
    with pytest.raises(TypeError, match="expected a Parameter or an array, got list"):
        init.ones().apply([0.0])
    with pytest.raises(TypeError, match="expected dtype float32 or float64"):
        init.ones().apply(np.zeros(2, int))
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        init.ones().apply(frozen)


@pytest.mark.parametrize("initializer", DRAWN, ids=str)
def test_fans_need_a_weight_and_the_rest_does_not(initializer):
    if initializer.name in ("normal", "uniform", "truncated_normal"):
        assert initializer(5).shape == (5,)
    else:
        with pytest.raises(ValueError, match=rf"^{initializer.name}\(\): expected a weight of shape \(out, in, "):
            initializer(5)


@pytest.mark.parametrize(
    ("initializer", "spelling"),
    [
        (init.xavier_normal(), "xavier_normal()"),
        (init.xavier_normal(gain=1.0), "xavier_normal()"),
        (init.xavier_normal(np.float64(1.4)), "xavier_normal(gain=1.4)"),
        (init.constant(2), "constant(2.0)"),
        (init.kaiming_uniform(math.sqrt(5), "fan_out"), "kaiming_uniform(a=2.23606797749979, mode='fan_out')"),
        (init.lecun_normal(truncated=np.True_), "lecun_normal(truncated=True)"),
    ],
)
def test_repr_spells_the_call(initializer, spelling):
    assert repr(initializer) == spelling
    assert eval(spelling, vars(init)) == initializer


def test_equality_goes_by_name_and_arguments():
    assert init.normal(0, 2) == init.normal(std=2.0)
    assert hash(init.normal(0, 2)) == hash(init.normal(std=2.0))
    assert init.normal(std=2) != init.normal(std=3)
    assert init.zeros() != init.ones()
    assert init.lecun_normal() != init.xavier_normal()


def test_what_an_initializer_is_cannot_be_assigned():
    initializer = init.normal(std=2)
    with pytest.raises(AttributeError, match="cannot assign to 'name'"):
        initializer.name = "uniform"
    with pytest.raises(AttributeError, match="cannot delete 'draw'"):
        del initializer.draw
    assert initializer == init.normal(std=2)


@pytest.mark.parametrize("initializer", ALL, ids=str)
def test_pickle_and_deepcopy_give_an_equal_one(initializer):
    for twin in (pickle.loads(pickle.dumps(initializer)), copy.deepcopy(initializer)):
        assert twin == initializer
        assert (twin((4, 3), rng=0) == initializer((4, 3), rng=0)).all()


def test_an_initializer_does_not_change():
    with pytest.raises(AttributeError):
        init.ones().name = "zeros"


@pytest.mark.parametrize("name", sorted(init.INITIALIZERS))
def test_every_initializer_is_found_by_its_name_and_documented(name):
    make = getattr(init, name)
    arguments = {"value": 1.0} if name == "constant" else {}
    assert init.from_spelling(name, **arguments) == make(**arguments)
    assert ">>> " in inspect.getdoc(make)
    assert not {"rng", "shape"} & set(inspect.signature(make).parameters)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="no initializer named 'he_normal'; nearest: "):
        init.from_spelling("he_normal")
    with pytest.raises(ValueError, match="nearest: kaiming_normal"):
        init.from_spelling("kaiming_norml", a=1)


NUMBERS = [
    (name, parameter.name)
    for name, make in init.INITIALIZERS.items()
    for parameter in inspect.signature(make).parameters.values()
    if parameter.annotation in ("float", "Positive")
]


@pytest.mark.parametrize(("name", "argument"), NUMBERS)
def test_every_number_must_be_finite_and_a_number(name, argument):
    make = init.INITIALIZERS[name]
    for value in (math.nan, math.inf, -math.inf, np.float32("nan"), 10**400):
        with pytest.raises(ValueError, match=f"^{name}: expected a finite number as {argument}, got "):
            make(**{argument: value})
    for value in ("1", None, True, 1j, [1.0], np.ones(1)):
        with pytest.raises(TypeError, match=f"^{name}: expected a number as {argument}, got "):
            make(**{argument: value})


@pytest.mark.parametrize("value", [0, -1.0, -0.0])
@pytest.mark.parametrize(
    ("name", "argument"), [(n, a) for n, a in NUMBERS if a in ("std", "gain")], ids=lambda word: word
)
def test_deviations_and_gains_are_positive(name, argument, value):
    with pytest.raises(ValueError, match=f"^{name}: expected a positive number as {argument}, got "):
        init.INITIALIZERS[name](**{argument: value})


@pytest.mark.parametrize("make", [init.uniform, init.truncated_normal])
@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1)])
def test_an_interval_goes_upwards(make, low, high):
    with pytest.raises(ValueError, match="expected low < high, got "):
        make(low=low, high=high)


def test_a_name_is_taken_once():
    def normal(rng, shape):
        return rng.normal(size=shape)

    with pytest.raises(ValueError, match=r"expected a new name, got normal, which is fastdl\.nn\.init's"):
        init.initializer(normal)


def test_words_are_known_words():
    with pytest.raises(ValueError, match="expected one of fan_in, fan_out as mode, got 'fan_avg'"):
        init.kaiming_normal(mode="fan_avg")
    with pytest.raises(ValueError, match=r"expected one of linear, .* as nonlinearity, got 'swish'"):
        init.kaiming_uniform(nonlinearity="swish")
    with pytest.raises(TypeError, match="as mode, got 1"):
        init.kaiming_normal(mode=1)
    with pytest.raises(TypeError, match="expected True or False as truncated, got 1"):
        init.xavier_normal(truncated=1)


def test_wrong_calls_are_answered_with_the_right_one():
    with pytest.raises(TypeError, match=r"expected constant\(value\), got missing a required argument: 'value'"):
        init.constant()
    with pytest.raises(TypeError, match=r"expected normal\(mean, std\), got "):
        init.normal(sigma=1)


@pytest.mark.parametrize("shape", [2.0, "ab", (2, 2.0), (True,), None, np.zeros(2)])
def test_a_shape_is_made_of_integers(shape):
    with pytest.raises(TypeError, match="expected a shape, an int or a tuple of ints"):
        init.ones()(shape)


def test_a_shape_has_no_negative_sizes():
    with pytest.raises(ValueError, match="without negative sizes"):
        init.ones()((2, -1))


@pytest.mark.parametrize("dtype", [int, np.float16, "float128", complex, None, "nonsense"])
def test_only_two_dtypes_are_drawn(dtype):
    with pytest.raises(TypeError, match="expected dtype float32 or float64"):
        init.ones()(2, dtype=dtype)


@pytest.mark.parametrize("initializer", [init.constant(1e39), init.normal(std=1e300)], ids=str)
def test_values_that_float32_cannot_hold_are_refused(initializer):
    with pytest.raises(ValueError, match="expected values that float32 can hold"):
        initializer((2, 2), rng=0)
    assert np.isfinite(initializer((2, 2), rng=0, dtype=np.float64)).all()


@pytest.mark.parametrize(
    ("nonlinearity", "gain"),
    [
        *((name, 1) for name in ("linear", "conv1d", "conv2d", "conv3d", "sigmoid", "conv_transpose2d")),
        ("tanh", 5 / 3),
        ("relu", math.sqrt(2)),
        ("leaky_relu", math.sqrt(2 / (1 + 0.01**2))),
        ("selu", 3 / 4),
    ],
)
def test_gains_are_those_of_torch(nonlinearity, gain):
    assert init.calculate_gain(nonlinearity) == pytest.approx(gain, rel=1e-15)


@given(st.floats(-1e100, 1e100))
def test_the_gain_of_a_leaky_relu_follows_its_slope(slope):
    assert init.calculate_gain("leaky_relu", slope) == pytest.approx(math.sqrt(2 / (1 + slope**2)))


def test_gains_refuse_other_names_and_slopes():
    with pytest.raises(ValueError, match="calculate_gain: expected one of linear, "):
        init.calculate_gain("mish")
    with pytest.raises(TypeError, match="calculate_gain: expected a number as param, got True"):
        init.calculate_gain("leaky_relu", True)
