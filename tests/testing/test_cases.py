"""Every case of the table: against the naive loops, on every CPU level, and what each promises about its inputs."""

import copy
import pickle

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import Parameter
from fastdl.testing import (
    CASES,
    LAYER_CASES,
    LOSS_CASES,
    OPTIMIZER_CASES,
    assert_close,
    gradcheck,
    make_input,
    make_target,
    naive,
    naive_loss,
    naive_step,
)

pytestmark = pytest.mark.usefixtures("same_draws")


@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_a_layer_is_its_naive_loops(each, each_level, dtype, case):
    for shape in each(shape=case.shapes):
        rng = np.random.default_rng(0)
        looped, x = case.make(dtype), make_input(case, shape, rng, dtype)
        gradients: dict[int, np.ndarray] = {}
        want, backward = naive(looped, x, gradients)
        gy = rng.standard_normal(want.shape).astype(dtype)
        want_gx = backward(gy)
        for _ in each_level():
            layer = case.make(dtype)
            y = layer(x)
            gx = layer.backward(gy)
            assert y.dtype == gx.dtype == dtype
            assert_close(y, want, case.tolerance, dtype, "output")
            assert_close(gx, want_gx, case.tolerance, dtype, "input gradient")
            for (name, parameter), twin in zip(layer.named_parameters(), looped.parameters(), strict=True):
                assert_close(parameter.grad, gradients[id(twin)], case.tolerance, dtype, f"gradient of {name}")


def has_few_parameters(case):
    return sum(parameter.size for parameter in case.make(float).parameters()) < 5000


@pytest.mark.parametrize("case", [*filter(has_few_parameters, LAYER_CASES)], ids=str)
def test_a_layer_agrees_with_central_differences(each, each_level, case):
    for shape in each(shape=case.shapes):
        x = make_input(case, shape, np.random.default_rng(1), np.float64)
        for _ in each_level():
            assert gradcheck(case.make(np.float64), x)


@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_a_loss_is_its_naive_loops(each, each_level, dtype, case):
    for shape in each(shape=case.shapes):
        rng = np.random.default_rng(0)
        criterion = case.make(dtype)
        x = make_input(case, shape, rng, dtype)
        t = make_target(case, shape, rng, dtype)
        value, gradient = naive_loss(criterion, x, t)
        for _ in each_level():
            assert_close(criterion(x, t), value, case.tolerance, dtype, "loss")
            assert_close(criterion.backward(), gradient, case.tolerance, dtype, "gradient")


@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_a_loss_agrees_with_central_differences(each, case):
    criterion = case.make(np.float64)

    class Judged(nn.Module):
        def forward(self, x):
            return np.asarray(criterion(x, t))

        def backward(self, grad_output):
            if criterion.reduction == "none":
                return criterion.backward(grad_output)
            return criterion.backward() * grad_output

    for shape in each(shape=case.shapes):
        rng = np.random.default_rng(2)
        x, t = make_input(case, shape, rng, float), make_target(case, shape, rng, float)
        assert gradcheck(Judged(), x)


@pytest.mark.parametrize("case", OPTIMIZER_CASES, ids=str)
def test_an_optimizer_is_its_naive_loops(each, each_level, dtype, case):
    for shape in each(shape=case.shapes):
        start, *gradients = np.random.default_rng(0).standard_normal((5, *shape)).astype(dtype)
        value, state, wanted = start.copy(), {}, []
        options = case.make(dtype)([Parameter(start.copy())])
        for step, gradient in enumerate(gradients, 1):
            naive_step(options, value, gradient, state, step)
            wanted.append(value.copy())
        for _ in each_level():
            parameter = Parameter(start.copy())
            optimizer = case.make(dtype)([parameter])
            for step, (gradient, want) in enumerate(zip(gradients, wanted, strict=True), 1):
                parameter.grad = gradient
                optimizer.step()
                assert_close(parameter.data, want, case.tolerance, dtype, f"step {step}")


@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_backward_parameters_adds_what_backward_adds(each_dtype, case):
    for dtype in each_dtype():
        rng = np.random.default_rng(4)
        one, two = case.make(dtype), case.make(dtype)
        x = make_input(case, case.shapes[0], rng, dtype)
        gy = rng.standard_normal(one(x).shape).astype(dtype)
        one.backward(gy)
        two(x)
        assert two.backward_parameters(gy) is None
        for by_backward, alone in zip(one.parameters(), two.parameters(), strict=True):
            np.testing.assert_array_equal(alone.grad, by_backward.grad)


@pytest.mark.parametrize("base", [nn.Linear, nn.Sequential])
def test_backward_parameters_goes_through_a_subclass_backward(base):
    class Doubled(base):
        def backward(self, grad_output):
            return super().backward(2 * grad_output)

    layer = Doubled(2, 1) if base is nn.Linear else Doubled(nn.Linear(2, 1))
    layer(np.ones((1, 2), np.float32))
    layer.backward_parameters(np.ones((1, 1), np.float32))
    assert all((parameter.grad == 2).all() for parameter in layer.parameters())


def layouts(x):
    """The same values in other memory: strided, Fortran, read-only, unaligned, of the other byte order."""
    wide = np.zeros((*x.shape, 2), x.dtype)
    wide[..., 1] = x
    yield "strided", wide[..., 1]
    yield "fortran", np.asfortranarray(x)
    read_only = x.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
    raw = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    yield "unaligned", unaligned
    yield "swapped", x.astype(x.dtype.newbyteorder())
    yield "reversed", np.ascontiguousarray(x[..., ::-1])[..., ::-1]


@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_any_layout_gives_the_same_bits(each_dtype, case):
    for dtype in each_dtype():
        rng = np.random.default_rng(3)
        layer, x = case.make(dtype), make_input(case, case.shapes[0], rng, dtype)
        y = layer(x)
        gy = rng.standard_normal(y.shape).astype(dtype)
        gx = layer.backward(gy)
        for (name, other), (_, other_gy) in zip(layouts(x), layouts(gy), strict=True):
            kept = other.copy()
            np.testing.assert_array_equal(layer(other), y, err_msg=name)
            np.testing.assert_array_equal(layer.backward(other_gy), gx, err_msg=name)
            np.testing.assert_array_equal(other, kept, err_msg=f"{name}: the input was written to")


# Identity returns what it is given.
REFUSING_CASES = [case for case in LAYER_CASES if case.subject is not nn.Identity]


@pytest.mark.parametrize("case", REFUSING_CASES, ids=str)
def test_another_dtype_is_a_type_error_that_says_what_to_write(each, case):
    for wrong in each(wrong=[np.int64, np.float16, bool, object, np.complex64]):
        x = np.ones(case.shapes[0]).astype(wrong)
        with pytest.raises(TypeError, match="astype"):
            case.make(np.float32)(x)


@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(each_dtype, case):
    for dtype in each_dtype():
        layer = case.make(dtype)
        y = layer(np.zeros((0, *case.shapes[0][1:]), dtype))
        gx = layer.backward(np.zeros_like(y))
        assert y.size == 0
        assert gx.shape == (0, *case.shapes[0][1:])
        assert all(not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_a_nan_in_the_input_is_seen_in_the_output(each_level, each_dtype, case):
    for dtype in each_dtype():
        x = np.ones(case.shapes[0], dtype)
        x.flat[-1] = np.nan
        for _ in each_level():
            assert np.isnan(case.make(dtype)(x)).any()


# NLLLoss reads the target's class only.
READING_LOSS_CASES = [case for case in LOSS_CASES if case.subject is not nn.NLLLoss]


@pytest.mark.parametrize("case", READING_LOSS_CASES, ids=str)
def test_a_nan_in_the_output_is_seen_in_the_loss(each_level, each_dtype, case):
    for dtype in each_dtype():
        rng = np.random.default_rng(0)
        x, t = make_input(case, case.shapes[0], rng, dtype), make_target(case, case.shapes[0], rng, dtype)
        x[0, 0] = np.nan
        if case.target == "index":
            t[0] = 0
        for _ in each_level():
            assert np.isnan(case.make(dtype)(x, t)).any()


@pytest.mark.parametrize("case", LAYER_CASES + LOSS_CASES, ids=str)
def test_backward_before_forward_says_so(each_dtype, case):
    for dtype in each_dtype():
        subject = case.make(dtype)
        with pytest.raises(RuntimeError, match="forward"):
            subject.backward(np.zeros((2, 2), dtype)) if case in LAYER_CASES else subject.backward()


@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_nothing_is_kept_under_no_grad(each_dtype, case):
    for dtype in each_dtype():
        layer = case.make(dtype)
        with fastdl.no_grad():
            y = layer(np.ones(case.shapes[0], dtype))
        with pytest.raises(RuntimeError, match="forward"):
            layer.backward(np.ones_like(y))


@pytest.mark.parametrize("case", REFUSING_CASES, ids=str)
def test_a_gradient_of_another_shape_is_refused(each_dtype, case):
    for dtype in each_dtype():
        layer = case.make(dtype)
        y = layer(np.ones(case.shapes[0], dtype))
        with pytest.raises(ValueError, match="expected"):
            layer.backward(np.ones((*y.shape, 2), dtype))


CLONES = {"deepcopy": copy.deepcopy, "pickle": lambda layer: pickle.loads(pickle.dumps(layer))}


@pytest.mark.parametrize("case", LAYER_CASES + LOSS_CASES, ids=str)
def test_a_copy_computes_the_same_and_shares_nothing(each, each_dtype, case):
    for dtype in each_dtype():
        rng = np.random.default_rng(0)
        subject = case.make(dtype)
        x = make_input(case, case.shapes[0], rng, dtype)
        arguments = (x,) if case in LAYER_CASES else (x, make_target(case, x.shape, rng, dtype))
        for clone in each(clone=CLONES):
            y = subject(*arguments)
            twin = CLONES[clone](subject)
            np.testing.assert_array_equal(twin(*arguments), y)
            for own, other in zip(subject.parameters(), twin.parameters(), strict=True):
                assert not np.shares_memory(own.data, other.data)


@pytest.mark.parametrize(
    ("case", "arguments", "error"),
    [pytest.param(c, a, e, id=f"{c}-{a}") for c in CASES for a, e in c.bad],
)
def test_bad_arguments_are_refused_in_one_sentence(case, arguments, error):
    first = ([Parameter(np.ones(2))],) if case in OPTIMIZER_CASES else ()
    with pytest.raises(error, match="expected") as caught:
        case.subject(*first, **arguments) if isinstance(arguments, dict) else case.subject(*first, *arguments)
    assert str(caught.value).startswith(case.subject.__name__)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_a_layer_is_spelled_as_it_is_built(case):
    layer = case.make(np.float32)
    assert repr(nn.from_spec([layer.spec()])[0]) == repr(layer)
