"""Elementwise nodes against NumPy's ufuncs: every operation, every way in which an input is read, chains, threads."""

import math

import numpy as np
import pytest

import fastdl
from fastdl.graph.ufuncs import BITWISE, COMPARING, FLOATING, LOGICAL, NUMERIC, TESTING
from fastdl.reference.elementwise import OPERATIONS, WHOLE_OPERATIONS, elementwise
from tests._kernels.nodes import apply, instructions, program

TWO = {"arctan2", "logaddexp", "divide", "power", "remainder", "floor_divide", "add", "subtract", "multiply", "maximum"}
TWO |= {"minimum", *COMPARING, "logical_and", "logical_or", "logical_xor", *BITWISE} - {"invert"}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.5, -3.5, 1e-30, 700.0, -700.0, np.inf, -np.inf, np.nan]
SIZES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 511, 512, 513, 1023, 1024, 1025, 2000]


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def whole_numbers(shape, seed=0):
    return np.random.default_rng(seed).integers(-9, 10, shape)


def special(count, dtype):
    """All combinations of special values, for as many operands."""
    return [each.ravel() for each in np.meshgrid(*[np.array(SPECIAL, dtype)] * count)]


def close(got, want, dtype, ulps=4):
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    got, want = got[~np.isnan(want)], want[~np.isnan(want)]
    tiny = np.abs(want) < np.finfo(dtype).tiny  # denormal numbers may be flushed
    assert (np.abs(got[tiny]) < np.finfo(dtype).tiny).all()
    got, want = got[~tiny], want[~tiny]
    same = got == want
    with np.errstate(all="ignore"):
        off = np.abs(got.astype(np.longdouble) - want.astype(np.longdouble)) / np.spacing(np.abs(want)).astype(
            np.longdouble
        )
    assert (same | (off <= ulps)).all()


@pytest.mark.parametrize("operation", [*FLOATING, *NUMERIC, *COMPARING, *LOGICAL, *TESTING])
def test_an_operation_is_numpys(each_level, dtype, operation):
    for _ in each_level():
        count = 2 if operation in TWO else 1
        inputs = [
            np.concatenate([a, numbers(1000, dtype, n), 50 * numbers(1000, dtype, n + 7)])
            for n, a in enumerate(special(count, dtype))
        ]
        if operation in LOGICAL:
            inputs = [each > 0 for each in inputs]
        want = getattr(np, operation)(*inputs)
        got = apply(operation, *inputs, dtype=dtype, kind=want.dtype)
        if want.dtype == np.bool_:
            np.testing.assert_array_equal(got, want)
        elif operation == "logaddexp":  # the larger and a logarithm may cancel
            np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)
        else:
            close(got, want, dtype, 4)


@pytest.mark.parametrize("operation", [*NUMERIC, *COMPARING, *LOGICAL, *TESTING, *BITWISE])
def test_an_operation_of_whole_numbers_is_numpys(each_level, operation):
    for _ in each_level():
        a, b = (each.ravel() for each in np.meshgrid(np.arange(-9, 10), np.arange(-9, 10)))
        if operation == "power":
            b = np.abs(b)
        if operation in LOGICAL:
            a, b = a > 0, b > 0
        inputs = (a, b) if operation in TWO else (a,)
        want = getattr(np, operation)(*inputs)
        np.testing.assert_array_equal(
            apply(operation, *inputs, dtype=np.float32, kind=want.dtype, registers="whole"), want
        )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_the_references(each_level, each_dtype, operation):
    for dtype in each_dtype():
        for _ in each_level():
            count = {"where": 3, "multiply_add": 3}.get(operation, 2 if operation in TWO else 1)
            every = [np.random.default_rng(n).permutation(SPECIAL * 3).astype(dtype) for n in range(count)]
            if operation in LOGICAL:
                every = [each > 0 for each in every]
            kind = np.bool_ if operation in (*COMPARING, *LOGICAL, *TESTING) else dtype
            want = np.empty(len(every[0]), kind)
            attributes = instructions("float", (operation, count, *range(count)))
            elementwise(attributes, every, want)
            got = program(attributes, every, dtype, kind)
            if kind == np.bool_:
                np.testing.assert_array_equal(got, want)
            else:
                close(got, want, dtype, 8)


@pytest.mark.parametrize("operation", WHOLE_OPERATIONS)
def test_an_operation_of_whole_numbers_is_the_references(each_level, operation):
    for _ in each_level():
        count = {"where": 3}.get(operation, 2 if operation in TWO else 1)
        every = [np.random.default_rng(n).integers(-9, 10, 100) for n in range(count)]
        attributes = instructions("whole", (operation, count, *range(count)))
        want = np.empty(100, np.int64)
        elementwise(attributes, every, want)
        np.testing.assert_array_equal(program(attributes, every, np.float32, np.int64), want)


def test_whole_numbers_wrap_around(level):
    least = np.array([np.iinfo(np.int64).min], np.int64)
    for operation, b in (("floor_divide", -1), ("remainder", -1), ("add", -1), ("multiply", 3), ("subtract", 1)):
        b = np.array([b], np.int64)
        got = apply(operation, least, b, dtype=np.float64, kind=np.int64, registers="whole")
        np.testing.assert_array_equal(got, getattr(np, operation)(least, b))
    assert apply("power", np.array([3]), np.array([-1]), dtype=np.float64, kind=np.int64, registers="whole") == 0


def test_bits_of_the_largest_whole_numbers(level):
    ends = np.array([np.iinfo(np.int64).min, -1, 0, 1, 2**24 + 1, np.iinfo(np.int64).max])
    shifts = np.array([0, 1, 31, 32, 63, 64, 65, -1])
    a, b = (each.ravel() for each in np.meshgrid(ends, ends))
    for operation in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        got = apply(operation, a, b, dtype=np.float32, kind=np.int64, registers="whole")
        np.testing.assert_array_equal(got, getattr(np, operation)(a, b))
    a, b = (each.ravel() for each in np.meshgrid(ends, shifts))
    for operation in ("left_shift", "right_shift"):
        got = apply(operation, a, b, dtype=np.float32, kind=np.int64, registers="whole")
        np.testing.assert_array_equal(got, getattr(np, operation)(a, b))


def test_every_size_is_filled_and_nothing_beyond(each, each_level, dtype):
    for n in each(n=SIZES):
        for _ in each_level():
            x, y = numbers(n, dtype), numbers(n, dtype, 1)
            for operation in ("add", "exp", "sin", "less"):
                inputs = (x, y) if operation in TWO else (x,)
                out = np.full(n + 3, 7, dtype)
                apply(operation, *inputs, dtype=dtype, out=out[:n])
                close(out[:n], getattr(np, operation)(*inputs).astype(dtype), dtype)
                np.testing.assert_array_equal(out[n:], 7)


# Where a function is neither beyond the largest number nor denormal, for float32 and float64.
RANGES = {
    "exp": ((-87, 88.7), (-708, 709.7)),
    "expm1": ((-100, 88.7), (-800, 709.7)),
    "exp2": ((-126, 127.9), (-1022, 1023.9)),
    "log": ((1e-37, 1e38), (1e-300, 1e300)),
    "log1p": ((-0.9999999, 1e30), (-0.999999999999999, 1e200)),
    "log2": ((1e-37, 1e38), (1e-300, 1e300)),
    "log10": ((1e-37, 1e38), (1e-300, 1e300)),
    "sqrt": ((1e-37, 1e38), (1e-300, 1e300)),
    "reciprocal": ((-1e30, 1e30), (-1e200, 1e200)),
    "sin": ((-2e6, 2e6), (-2e6, 2e6)),
    "cos": ((-2e6, 2e6), (-2e6, 2e6)),
    "tan": ((-2e6, 2e6), (-2e6, 2e6)),
    "tanh": ((-20, 20), (-20, 20)),
    "sinh": ((-88, 88), (-700, 700)),
    "cosh": ((-88, 88), (-700, 700)),
    "arctan": ((-1e9, 1e9), (-1e20, 1e20)),
    "arcsin": ((-1, 1), (-1, 1)),
    "arccos": ((-1, 1), (-1, 1)),
}


def spread(low, high, dtype, seed=0):
    """Points over an interval: evenly, by magnitude, about 1 and about the multiples of pi / 2."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-30, np.log10(max(abs(low), abs(high))), 20000)
    turns = rng.integers(-600_000, 600_000, 20000) * (np.pi / 2)
    points = [rng.uniform(low, high, 20000), size, -size, 1 + rng.uniform(-1e-3, 1e-3, 20000), turns]
    x = np.concatenate(points).astype(dtype)
    return x[(x >= low) & (x <= high)]


def units_off(got, want, dtype):
    """The largest error in units in the last place, of results that are normal numbers."""
    size = np.abs(want).astype(dtype)
    normal = (size >= np.finfo(dtype).tiny) & (size <= np.finfo(dtype).max)
    off = np.abs(got.astype(np.longdouble) - want) / np.spacing(size).astype(np.longdouble)
    return off[normal].max()


@pytest.mark.parametrize("operation", RANGES)
def test_a_function_is_good_to_four_units_in_the_last_place(each_level, dtype, operation):
    x = spread(*RANGES[operation][dtype == np.float64], dtype)
    assert len(x) > 20000
    want = getattr(np, operation)(x.astype(np.longdouble))
    for _ in each_level():
        assert units_off(apply(operation, x, dtype=dtype), want, dtype) <= 4


def test_powers_are_good_to_four_units_in_the_last_place(level, dtype):
    rng = np.random.default_rng(0)
    most = 88 if dtype == np.float32 else 709
    x = np.exp(rng.uniform(-80, 80, 50000)).astype(dtype)
    y = (rng.uniform(-most, most, 50000) / np.log(x.astype(float))).astype(dtype)
    y[:5000] = np.rint(y[:5000])
    y[5000:6000] = 2
    got = apply("power", x, y, dtype=dtype)
    assert units_off(got, x.astype(np.longdouble) ** y.astype(np.longdouble), dtype) <= 4


def test_the_error_function_is_good_to_four_units_in_the_last_place(level, dtype):
    x = spread(-7, 7, dtype)
    want = np.array([math.erf(each) for each in x.astype(float)])
    assert units_off(apply("erf", x, dtype=dtype), want, dtype) <= 4
    ends = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30] * 4, dtype)
    got = apply("erf", ends, dtype=dtype)
    np.testing.assert_array_equal(got, [0, 0, 1, -1, np.nan, 1] * 4)
    np.testing.assert_array_equal(np.signbit(got[:2]), [False, True])


@pytest.mark.parametrize("operation", ["sin", "cos", "tan"])
def test_angles_far_away(level, dtype, operation):
    x = np.array([1.1e6, -3e6, 1e7, 12345678.0, -1e10, 1e15, 1e22, 1e30, -3e37], dtype)
    want = getattr(np, operation)(x.astype(np.longdouble))
    assert units_off(apply(operation, x, dtype=dtype), want, dtype) <= 4
    beside = np.concatenate([x, numbers(100, dtype)])
    np.testing.assert_array_equal(apply(operation, beside, dtype=dtype)[: len(x)], apply(operation, x, dtype=dtype))


ODD = [
    "expm1",
    "log1p",
    "sqrt",
    "sin",
    "tan",
    "tanh",
    "sinh",
    "arctan",
    "arcsin",
    "negative",
    "floor",
    "ceil",
    "rint",
    "trunc",
]


@pytest.mark.parametrize("operation", ODD)
def test_a_zero_keeps_its_sign(each_level, dtype, operation):
    for _ in each_level():
        x = np.array([0.0, -0.0] * 20, dtype)
        want = getattr(np, operation)(x)
        got = apply(operation, x, dtype=dtype)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


@pytest.mark.parametrize("operation", ["exp", "expm1", "exp2", "sinh", "cosh"])
def test_what_is_too_large_is_infinite_and_what_is_tiny_is_0(level, dtype, operation):
    x = np.array([-1e30, -2000.0, 2000.0, 1e30] * 5, dtype)
    np.testing.assert_array_equal(apply(operation, x, dtype=dtype), getattr(np, operation)(x))


def test_a_denormal_number_counts_as_0(level, dtype):
    tiny = np.full(20, np.finfo(dtype).smallest_subnormal)
    np.testing.assert_array_equal(apply("add", tiny, tiny, dtype=dtype), 0)
    np.testing.assert_array_equal(apply("log", tiny, dtype=dtype), -np.inf)
    np.testing.assert_array_equal(apply("cast", tiny, dtype=dtype), tiny)  # which only moves


def test_powers_of_two_and_ten_have_whole_logarithms(level, dtype):
    n = np.arange(-30, 31)
    np.testing.assert_array_equal(apply("log2", np.exp2(n).astype(dtype), dtype=dtype), n)
    np.testing.assert_array_equal(apply("exp2", n.astype(dtype), dtype=dtype), np.exp2(n).astype(dtype))


# How an input lies under an output of this shape.
WAYS = {
    "contiguous": lambda shape, make: make(shape),
    "scalar": lambda shape, make: make(()),
    "row": lambda shape, make: make(shape[-1:]),
    "two axes as a row": lambda shape, make: make(shape[1:]),
    "column": lambda shape, make: make((*shape[:-1], 1)),
    "middle": lambda shape, make: make((shape[0], 1, shape[2])),
    "first axis": lambda shape, make: make((shape[0], 1, 1)),
    "every other": lambda shape, make: make((*shape[:-1], 2 * shape[-1]))[..., ::2],
    "part of rows": lambda shape, make: make((*shape[:-1], shape[-1] + 3))[..., 1:-2],
    "reversed": lambda shape, make: make(shape)[::-1, ::-1, ::-1],
    "last reversed": lambda shape, make: make(shape)[..., ::-1],
    "transposed": lambda shape, make: make(shape[::-1]).T,
}
SHAPES = [(1, 1, 1), (2, 3, 4), (5, 7, 33), (1, 64, 2), (3, 1, 700), (2, 600, 3), (4, 2, 512), (0, 3, 2), (3, 4, 0)]


@pytest.mark.parametrize("way", WAYS)
def test_inputs_in_every_layout(each, each_level, dtype, way):
    for shape in each(shape=SHAPES):
        for _ in each_level():
            for make, kind in (
                (lambda s: numbers(s, dtype), dtype),
                (lambda s: whole_numbers(s), np.int64),
                (lambda s: numbers(s, dtype) > 0, np.bool_),
            ):
                x, y = WAYS[way](shape, make), numbers(shape, dtype, 1)
                np.testing.assert_array_equal(apply("add", x, y, dtype=dtype), np.add(x.astype(dtype), y))
                np.testing.assert_array_equal(apply("multiply", y, x, dtype=dtype), np.multiply(y, x.astype(dtype)))
                if kind != dtype:
                    z = whole_numbers(shape, 1)
                    got = apply("subtract", x, z, dtype=dtype, kind=np.int64, registers="whole")
                    np.testing.assert_array_equal(got, x.astype(np.int64) - z)


@pytest.mark.parametrize("way", ["contiguous", "every other", "part of rows", "reversed", "transposed"])
def test_outputs_in_every_layout(each, each_level, dtype, way):
    for shape in each(shape=SHAPES):
        for _ in each_level():
            x = numbers(shape, dtype)
            for kind in (dtype, np.int64, np.bool_):
                out = WAYS[way](shape, lambda s, kind=kind: np.zeros(s, kind))
                apply("cast", 3 * x, dtype=dtype, out=out)
                np.testing.assert_array_equal(out, (3 * x).astype(kind))
                z = whole_numbers(shape)
                out = WAYS[way](shape, lambda s, kind=kind: np.zeros(s, kind))
                apply("cast", z, dtype=dtype, out=out, registers="whole")
                np.testing.assert_array_equal(out, z.astype(kind))


def test_where_takes_either(level, dtype):
    x, y = numbers(1000, dtype), numbers(1000, dtype, 1)
    condition = numbers(1000, dtype, 2) > 0
    np.testing.assert_array_equal(apply("where", condition, x, y, dtype=dtype), np.where(condition, x, y))
    a, b = whole_numbers(1000), whole_numbers(1000, 1)
    got = apply("where", condition, a, b, dtype=dtype, kind=np.int64, registers="whole")
    np.testing.assert_array_equal(got, np.where(condition, a, b))


CHAIN = instructions(
    "float",
    ("multiply", 3, 0, 1),
    ("add", 4, 3, 2),
    ("exp", 5, 4),
    ("add", 3, 5, 0),
    ("maximum", 3, 3, 1),
    ("divide", 3, 3, 5),
)


def chain(x, y, z):
    e = np.exp(x * y + z)
    return np.maximum(e + x, y) / e


@pytest.mark.parametrize("shape", [(3,), (700,), (40, 30), (4, 5, 600)], ids=str)
def test_a_chain_of_instructions(level, dtype, shape):
    x, y, z = numbers(shape, dtype), numbers(shape[-1:], dtype, 1), numbers((*shape[:-1], 1), dtype, 2)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(program(CHAIN, (x, y, z), dtype), chain(x, y, z), rtol=20 * eps, atol=4 * eps)
    if x.size < 2000:
        want = np.empty(shape, dtype)
        elementwise(CHAIN, [np.broadcast_to(each, shape) for each in (x, y, z)], want)
        np.testing.assert_allclose(program(CHAIN, (x, y, z), dtype), want, rtol=20 * eps, atol=4 * eps)
    turned = np.empty(shape[::-1], dtype).T
    np.testing.assert_array_equal(program(CHAIN, (x, y, z), dtype, out=turned), program(CHAIN, (x, y, z), dtype))


def test_an_output_may_take_the_place_of_an_input(level, dtype):
    x, y = numbers(3000, dtype), numbers(3000, dtype, 1)
    want = program(CHAIN, (x, y, x), dtype)
    program(CHAIN, (x, y, x), dtype, out=x)
    np.testing.assert_array_equal(x, want)


def test_threads_and_places_change_no_bit(level, dtype, threads):
    x, y, z = numbers((300, 1111), dtype), numbers(1111, dtype, 1), numbers((300, 1), dtype, 2)
    found = []
    for n in (1, 2, 4):
        fastdl.set_num_threads(n)
        found.append(program(CHAIN, (x, y, z), dtype))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    for operation in FLOATING:
        if operation in TWO:
            continue
        whole = apply(operation, x[0], dtype=dtype)
        for start, stop in ((0, 3), (1, 70), (513, 1111)):
            np.testing.assert_array_equal(apply(operation, x[0, start:stop], dtype=dtype), whole[start:stop])


@pytest.mark.parametrize("n", [5, 5000])
def test_the_longest_program(level, dtype, n):
    """Nine inputs, eight registers and twenty-four instructions, in steps of one operation."""
    inputs = [numbers(n, dtype, seed) for seed in range(9)]
    slots = [each.astype(dtype) for each in inputs] + [None] * 8
    steps = []
    for i in range(24):
        y, a, b = 9 + i % 8, i % 9 if i < 8 else 9 + (i + 3) % 8, (i + 1) % 9
        steps.append((("add", "subtract", "maximum")[i % 3], y, a, b))
        slots[y] = (np.add, np.subtract, np.maximum)[i % 3](slots[a], slots[b])
    np.testing.assert_array_equal(program(instructions("float", *steps), inputs, dtype), slots[9 + 23 % 8])


def test_too_many_registers_are_refused(dtype):
    with pytest.raises(ValueError, match="at most 8 registers, got slot 17"):
        program(instructions("float", ("exp", 17, 0)), (numbers(3, dtype),), dtype)


def test_too_many_instructions_are_refused(dtype):
    with pytest.raises(ValueError, match="at most 24 instructions, got 25"):
        program(instructions("float", *[("exp", 1, 0)] * 25), (numbers(3, dtype),), dtype)
