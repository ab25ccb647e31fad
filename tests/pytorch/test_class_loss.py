"""Losses over classes beside PyTorch's: values and gradients, with every option and reduction."""

import numpy as np
import pytest

from fastdl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

SHAPES = [(1, 2), (6, 3), (17, 10), (4, 1), (5, 4, 3), (2, 3, 4, 5), (33, 65), (5, 1000)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
REDUCTIONS = ["mean", "sum", "none"]
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
weights = pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
SMOOTHINGS = [0.0, 0.1, 1.0]


def scores(shape, dtype):
    return np.random.default_rng(0).normal(scale=3, size=shape).astype(dtype)


def log_probabilities(shape, dtype):
    return torch.log_softmax(torch.tensor(scores(shape, dtype)), 1).numpy()


def classes(shape, ignore_index=None):
    """Targets of every class that there is room for, about a quarter of them ignored where a value stands for that."""
    rng = np.random.default_rng(1)
    t = rng.integers(shape[1], size=(shape[0], *shape[2:]))
    if ignore_index is not None:
        t[rng.random(t.shape) < 0.25] = ignore_index
        t.flat[0] = (ignore_index + 1) % shape[1] if ignore_index >= 0 else 0
    return t


def distributions(shape, dtype):
    rows = np.random.default_rng(2).dirichlet(np.ones(shape[1]), size=(shape[0], *shape[2:]))
    return np.ascontiguousarray(np.moveaxis(rows, -1, 1), dtype=dtype)


def class_weights(shape, dtype, weighted):
    return {"weight": np.random.default_rng(3).uniform(0.2, 3, size=shape[1]).astype(dtype)} if weighted else {}


def hold_together(name, options, reduction, x, t, agree):
    """Value and gradient; for reduction none, also the gradient of a weighted sum."""
    ours = getattr(nn, name)(reduction=reduction, **options)
    tensors = {"weight": torch.tensor(options["weight"])} if "weight" in options else {}
    theirs = getattr(torch.nn, name)(reduction=reduction, **{**options, **tensors})
    x_torch = torch.tensor(x, requires_grad=True)
    loss, loss_torch = ours(x, t), theirs(x_torch, torch.tensor(t))
    agree(loss, loss_torch)
    loss_torch.sum().backward()
    agree(ours.backward(), x_torch.grad)
    if reduction != "none":
        assert type(loss) is float
        return
    gy = np.random.default_rng(9).normal(size=loss.shape).astype(x.dtype)
    x_torch.grad = None
    theirs(x_torch, torch.tensor(t)).backward(torch.tensor(gy))
    ours(x, t)
    agree(ours.backward(gy), x_torch.grad)


@pytest.mark.parametrize("ignore_index", [None, -100, -1, 1])
@shapes
@weights
def test_cross_entropy_of_classes(each, shape, weighted, ignore_index, dtype, agree):
    if shape[1] == 1 and ignore_index is not None and ignore_index >= 0:
        ignore_index = -1
    for reduction, label_smoothing in each(reduction=REDUCTIONS, label_smoothing=SMOOTHINGS):
        options = {"label_smoothing": label_smoothing, **class_weights(shape, dtype, weighted)}
        if ignore_index is not None:
            options["ignore_index"] = ignore_index
        hold_together("CrossEntropyLoss", options, reduction, scores(shape, dtype), classes(shape, ignore_index), agree)


@shapes
@weights
def test_cross_entropy_of_probabilities(each, shape, weighted, dtype, agree):
    for reduction, label_smoothing in each(reduction=REDUCTIONS, label_smoothing=SMOOTHINGS):
        options = {"label_smoothing": label_smoothing, **class_weights(shape, dtype, weighted)}
        hold_together("CrossEntropyLoss", options, reduction, scores(shape, dtype), distributions(shape, dtype), agree)


@reductions
def test_cross_entropy_of_targets_that_do_not_sum_to_one(reduction, dtype, agree):
    t = 2 * distributions((6, 3), dtype) + dtype(0.5)
    hold_together("CrossEntropyLoss", {"label_smoothing": 0.1}, reduction, scores((6, 3), dtype), t, agree)


@pytest.mark.parametrize("ignore_index", [None, -100, -1, 1])
@shapes
@weights
def test_negative_log_likelihood(each, shape, weighted, ignore_index, dtype, agree):
    if shape[1] == 1 and ignore_index is not None and ignore_index >= 0:
        ignore_index = -1
    for reduction in each(reduction=REDUCTIONS):
        options = class_weights(shape, dtype, weighted)
        if ignore_index is not None:
            options["ignore_index"] = ignore_index
        hold_together(
            "NLLLoss", options, reduction, log_probabilities(shape, dtype), classes(shape, ignore_index), agree
        )


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
@reductions
def test_a_batch_where_every_target_is_ignored(name, reduction, dtype, agree):
    hold_together(name, {}, reduction, log_probabilities((4, 3), dtype), np.full(4, -100), agree)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
@reductions
def test_a_class_of_weight_zero(name, reduction, dtype, agree):
    options = {"weight": np.array([0.0, 1.0, 2.0], dtype=dtype)}
    hold_together(name, options, reduction, log_probabilities((9, 3), dtype), classes((9, 3)), agree)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss"])
@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0)], ids=str)
def test_empty_batch(name, reduction, shape, dtype, agree):
    hold_together(name, {}, reduction, scores(shape, dtype), classes(shape), agree)


@reductions
def test_cross_entropy_of_extreme_scores(reduction, dtype, agree):
    x = np.array([[1e4, -1e4, 0], [200, 0, -200], [-1e4, -1e4, -1e4], [1e-8, 0, -1e-8], [1e30, 1e30, 0]], dtype=dtype)
    hold_together("CrossEntropyLoss", {}, reduction, x, np.array([1, 0, 2, 1, 0]), agree)


@reductions
def test_cross_entropy_with_a_class_masked_by_minus_infinity(reduction, dtype, agree):
    x = scores((6, 3), dtype)
    x[:, 0] = -np.inf
    hold_together("CrossEntropyLoss", {}, reduction, x, 1 + classes((6, 2)), agree)


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.int64])
def test_cross_entropy_takes_classes_of_any_integer_kind(kind, dtype, agree):
    x, t = scores((6, 3), dtype), classes((6, 3))
    agree(nn.CrossEntropyLoss()(x, t.astype(kind)), torch.nn.CrossEntropyLoss()(torch.tensor(x), torch.tensor(t)))


def negative(shape, dtype):
    sizes = np.linspace(-1.3, 2.0, shape[len(shape) > 1]).astype(dtype)
    return {"weight": sizes}


@shapes
def test_weights_of_any_sign(each, shape, dtype, agree):
    for reduction in each(reduction=REDUCTIONS):
        x, t = scores(shape, dtype), classes(shape)
        hold_together("CrossEntropyLoss", negative(shape, dtype), reduction, x, t, agree)
        hold_together("NLLLoss", negative(shape, dtype), reduction, log_probabilities(shape, dtype), t, agree)
        hold_together("CrossEntropyLoss", negative(shape, dtype), reduction, x, distributions(shape, dtype), agree)


@weights
@pytest.mark.parametrize("ignore_index", [-100, 1])
def test_one_sample_without_an_axis_of_samples(each, weighted, ignore_index, dtype, agree):
    for reduction, label_smoothing in each(reduction=REDUCTIONS, label_smoothing=SMOOTHINGS):
        x, options = scores((1, 4), dtype)[0], class_weights((1, 4), dtype, weighted)
        for target in range(4):
            t = np.array(target)
            options |= {"ignore_index": ignore_index}
            smoothed = {**options, "label_smoothing": label_smoothing}
            hold_together("CrossEntropyLoss", smoothed, reduction, x, t, agree)
            hold_together("NLLLoss", options, reduction, x, t, agree)
        p = distributions((1, 4), dtype)[0]
        hold_together(
            "CrossEntropyLoss",
            {"label_smoothing": label_smoothing, **class_weights((1, 4), dtype, weighted)},
            reduction,
            x,
            p,
            agree,
        )
