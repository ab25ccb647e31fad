"""Gradients of traced NumPy functions beside torch's, where a derivative is a convention: ties, ends, zeros."""

import numpy as np
import pytest

import fastdl

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the peers extra)")

X = np.array([[1.0, 2.0, 2.0], [0.0, -3.0, 0.5]])
ZEROS = np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0], [1.0, 2.0, 4.0]])
PAIRS = {
    "maximum of equal ones": (lambda x: np.maximum(x, 2.0), lambda x: torch.maximum(x, torch.full_like(x, 2.0)), X),
    "minimum of equal ones": (lambda x: np.minimum(x, 0.0), lambda x: torch.minimum(x, torch.zeros_like(x)), X),
    "the largest of equal ones": (lambda x: x.max(axis=1), lambda x: x.amax(1), X),
    "the least of equal ones": (lambda x: x.min(axis=0), lambda x: x.amin(0), X),
    "clip at its ends": (lambda x: np.clip(x, 0.5, 2.0), lambda x: x.clamp(0.5, 2.0), X),
    "absolute value of 0": (lambda x: np.abs(x), lambda x: x.abs(), X),
    "sign": (lambda x: np.sign(x) * x, lambda x: torch.sign(x) * x, X),
    "product with a 0": (lambda x: np.prod(x, axis=1), lambda x: x.prod(1), ZEROS),
    "power of 0": (lambda x: x**2.0, lambda x: x**2.0, ZEROS),
    "power 0": (lambda x: x**0.0, lambda x: x**0.0, ZEROS),
    "number to a power": (lambda x: 0.0**x, lambda x: torch.zeros_like(x) ** x, ZEROS),
    "root of 0": (lambda x: np.sqrt(x), lambda x: x.sqrt(), ZEROS),
    "where": (lambda x: np.where(x > 0, np.log(x), 0.0), lambda x: torch.where(x > 0, x.log(), 0.0), ZEROS + 1),
    "where beside a NaN": (lambda x: np.where(x > 0, np.log(x), 0.0), lambda x: torch.where(x > 0, x.log(), 0.0), X),
    "sort of equal ones": (lambda x: np.sort(x, axis=1) * np.arange(3),
                           lambda x: x.sort(dim=1, stable=True).values * torch.arange(3), X),
    "cumsum": (lambda x: np.cumsum(x, axis=1) ** 2, lambda x: x.cumsum(1) ** 2, X),
    "variance": (lambda x: x.var(axis=1, ddof=1), lambda x: x.var(1), X),
    "std of equal ones": (lambda x: (0 * x + 1).std(axis=1), lambda x: (0 * x + 1).std(1, correction=0), X),
    "logaddexp": (lambda x: np.logaddexp(x, 1000.0), lambda x: torch.logaddexp(x, torch.full_like(x, 1000.0)), X),
    "remainder": (lambda x: x % 0.7, lambda x: x % 0.7, X + 0.05),
    "floor and round": (lambda x: x * np.floor(x) + np.round(x), lambda x: x * x.floor() + x.round(), X + 0.1),
    "arctan2 of zeros": (lambda x: np.arctan2(x, x), lambda x: torch.atan2(x, x), ZEROS + 1),
    "a place taken twice": (lambda x: x[:, np.array([0, 0, 2])] ** 2, lambda x: x[:, [0, 0, 2]] ** 2, X),
    "matmul of stacks": (lambda x: np.matmul(x[None] * np.ones((4, 1, 1)), x.T),
                         lambda x: torch.matmul(x[None] * torch.ones((4, 1, 1)), x.T), X),
}  # fmt: skip


@pytest.mark.parametrize(("numpy", "pytorch", "x"), PAIRS.values(), ids=PAIRS)
def test_the_gradient_is_torchs(numpy, pytorch, x):
    value, gradient = fastdl.value_and_grad(lambda x: np.sum(numpy(x)))(x)
    leaf = torch.tensor(x, requires_grad=True)
    total = pytorch(leaf).sum()
    total.backward()
    np.testing.assert_allclose(value, total.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-12, atol=1e-15)
