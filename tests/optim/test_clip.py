"""Gradient clipping: by the norm of all gradients together, and element by element."""

import numpy as np
import pytest

from fastdl import optim
from fastdl.nn import Parameter


def parameters(*gradients, dtype=np.float64):
    params = [Parameter(np.zeros(np.shape(gradient), dtype=dtype)) for gradient in gradients]
    for parameter, gradient in zip(params, gradients, strict=True):
        parameter.grad = gradient
    return params


def gradients(params):
    return np.concatenate([parameter.grad.ravel() for parameter in params])


def test_the_norm_is_taken_over_all_gradients_and_returned(dtype):
    params = parameters([3.0, 0.0], [[4.0]], dtype=dtype)
    norm = optim.clip_grad_norm(params, 1.0)
    assert type(norm) is float
    assert norm == 5.0
    np.testing.assert_allclose(gradients(params), [0.6, 0.0, 0.8], rtol=1e-5)


def test_gradients_within_the_norm_stay_as_they_are():
    params = parameters([3.0, 0.0], [[4.0]])
    assert optim.clip_grad_norm(params, 5.1) == 5.0
    assert gradients(params).tolist() == [3.0, 0.0, 4.0]


LARGE = {np.float32: [1e19, 3e19, 1e38, 3e38], np.float64: [1e19, 1e160, 1e200, 1e308]}
TINY = {np.float32: [1e-19, 1e-25, 2e-38], np.float64: [1e-160, 1e-200, 1e-305]}


@pytest.mark.parametrize("norm_type", [1, 1.5, 2, 3.0, 10, np.inf])
def test_gradients_whose_squares_overflow_have_a_norm_and_are_clipped_to_it(norm_type, dtype):
    unit = np.array([3.0, -4.0, 0.5, 0.0]) / 4
    for size in LARGE[dtype]:
        params = parameters(size * unit[:2], size * unit[2:], dtype=dtype)
        with np.errstate(over="ignore"):
            want = size * np.linalg.norm(unit, norm_type)
        assert optim.clip_grad_norm(params, 2.0, norm_type) == pytest.approx(want, rel=1e-6)
        np.testing.assert_allclose(gradients(params), 2 * unit / np.linalg.norm(unit, norm_type), rtol=1e-5)


@pytest.mark.parametrize("norm_type", [1, 1.5, 2, 3.0, 10, np.inf])
def test_gradients_whose_squares_underflow_have_a_norm(norm_type, dtype):
    unit = np.array([3.0, -4.0, 0.5, 0.0])
    for size in TINY[dtype]:
        params = parameters(size * unit[:2], size * unit[2:], dtype=dtype)
        want = size * np.linalg.norm(unit, norm_type)
        assert optim.clip_grad_norm(params, 1.0, norm_type) == pytest.approx(want, rel=1e-6)
        np.testing.assert_array_equal(gradients(params), (size * unit).astype(dtype))


@pytest.mark.parametrize("n", [1, 3, 16384, 50000])
@pytest.mark.parametrize("size", [1e19, 1.0, 1e-12, 1e-22])
def test_large_small_and_mixed_gradients_have_their_norm(n, size, dtype):
    g = (size * np.random.default_rng(0).standard_normal(n) * np.logspace(-20, 0, n)).astype(dtype)
    (p,) = parameters(g, dtype=dtype)
    assert optim.clip_grad_norm(p, np.inf) == pytest.approx(np.linalg.norm(g.astype(np.longdouble)), rel=1e-5)


@pytest.mark.parametrize("limit", [1e-3, 1e-6, 1e15])
def test_a_factor_that_float32_cannot_hold_is_applied_in_steps(limit, dtype):
    size = 3e38 if dtype is np.float32 else 1e308
    (p,) = parameters([size, -size], dtype=dtype)
    optim.clip_grad_norm(p, limit)
    np.testing.assert_allclose(p.grad, np.array([1, -1]) * limit / np.sqrt(2), rtol=1e-5)


@pytest.mark.parametrize("norm_type", [1, 2, 3.0, np.inf])
def test_an_infinite_gradient_has_an_infinite_norm_and_a_nan_none(norm_type, dtype):
    params = parameters([np.inf, 1.0], [2.0], dtype=dtype)
    assert optim.clip_grad_norm(params, 1.0, norm_type) == np.inf
    np.testing.assert_array_equal(gradients(params), [np.nan, 0.0, 0.0])
    params = parameters([np.inf, 1.0], [np.nan], dtype=dtype)
    assert np.isnan(optim.clip_grad_norm(params, 1.0, norm_type))
    assert np.isnan(gradients(params)).all()


@pytest.mark.parametrize("norm_type", [1, 1.5, 2, 3.0, np.inf])
def test_the_norm_is_of_the_type_asked_for(norm_type):
    g = np.random.default_rng(0).standard_normal(40)
    params = parameters(g[:15].reshape(3, 5), g[15:])
    want = np.linalg.norm(g, norm_type)
    assert optim.clip_grad_norm(params, 0.5, norm_type) == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(gradients(params), g * 0.5 / (want + 1e-6), rtol=1e-12)


def test_a_norm_of_infinity_only_measures():
    params = parameters([3.0, 4.0])
    assert optim.clip_grad_norm(params, np.inf) == 5.0
    assert gradients(params).tolist() == [3.0, 4.0]


def test_a_norm_of_zero_leaves_nothing():
    params = parameters([3.0, 4.0])
    optim.clip_grad_norm(params, 0.0)
    assert not gradients(params).any()


def test_zeros_and_nothing_have_the_norm_zero():
    assert optim.clip_grad_norm(parameters([0.0, 0.0], np.zeros((0, 3))), 1.0) == 0.0
    assert optim.clip_grad_norm([], 1.0) == 0.0
    assert optim.clip_grad_norm([], 1.0, np.inf) == 0.0


def test_a_nan_is_not_hidden_by_clipping():
    params = parameters([np.nan, 1.0])
    assert np.isnan(optim.clip_grad_norm(params, 1.0))
    assert np.isnan(gradients(params)).all()
    params = parameters([np.nan, 3.0])
    optim.clip_grad_value(params, 1.0)
    np.testing.assert_array_equal(gradients(params), [np.nan, 1.0])


def test_each_element_is_held_within_the_value(dtype):
    params = parameters([3.0, -3.0, 0.5], [[-0.5, np.inf, -np.inf]], dtype=dtype)
    assert optim.clip_grad_value(params, 1.0) is None
    assert gradients(params).tolist() == [1.0, -1.0, 0.5, -0.5, 1.0, -1.0]


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
def test_frozen_parameters_do_not_count(clip):
    params = parameters([3.0], [400.0], [4.0])
    params[1].requires_grad = False
    assert clip(params, 1.0) in (5.0, None)
    assert params[1].grad == 400.0
    assert params[0].grad < 1.1


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
def test_one_parameter_and_an_iterator_are_taken_too(clip):
    (p,) = parameters([3.0, 4.0])
    clip(p, 0.5)
    assert np.abs(p.grad).max() <= 0.5
    p.grad = [3.0, 4.0]
    clip(iter([p]), 0.5)
    assert np.abs(p.grad).max() <= 0.5


def test_clipping_goes_through_the_optimizers_buffer():
    params = parameters([3.0], [4.0])
    optimizer = optim.SGD(params, lr=1.0)
    optim.clip_grad_norm(params, 1.0)
    optimizer.step()
    np.testing.assert_allclose([p.data[0] for p in params], [-0.6, -0.8], rtol=1e-5)


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
@pytest.mark.parametrize(
    ("limit", "error"),
    [
        (-1.0, ValueError),
        (np.nan, ValueError),
        (-np.inf, ValueError),
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_the_limit_is_a_number_from_0_up(clip, limit, error):
    params = parameters([3.0])
    with pytest.raises(error, match=f"{clip.__name__}: expected"):
        clip(params, limit)
    assert params[0].grad == 3.0


@pytest.mark.parametrize(
    ("norm_type", "error"),
    [
        (0, ValueError),
        (0.5, ValueError),
        (-np.inf, ValueError),
        (np.nan, ValueError),
        ("inf", TypeError),
        (True, TypeError),
    ],
)
def test_the_type_of_norm_is_a_number_from_1_up(norm_type, error):
    with pytest.raises(error, match=r"clip_grad_norm: expected .* for norm_type"):
        optim.clip_grad_norm(parameters([3.0]), 1.0, norm_type)


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
@pytest.mark.parametrize("given", [5, None, "weights", [np.zeros(3)], [1.0], optim.SGD(parameters([1.0]))])
def test_what_is_clipped_are_parameters(clip, given):
    with pytest.raises(TypeError, match=f"{clip.__name__}: expected Parameters such as model"):
        clip(given, 1.0)
