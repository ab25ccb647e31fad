"""Losses: their reductions, what they do with nothing, and what they refuse."""

import numpy as np
import pytest

import fastdl
from fastdl import nn

RNG = np.random.default_rng(3)
X, T = RNG.standard_normal((4, 3)), RNG.standard_normal((4, 3))
P, Q = RNG.uniform(0.05, 0.95, (4, 3)), RNG.uniform(0, 1, (4, 3))
D = Q / Q.sum(axis=1, keepdims=True)
CLASSES = np.array([2, 0, 1, 2])

# Makers by name, with an output and a target that each takes.
ELEMENTS = {
    "MSELoss": (nn.MSELoss, X, T),
    "MAELoss": (nn.MAELoss, X, T),
    "HuberLoss": (nn.HuberLoss, X, T),
    "BCELoss": (nn.BCELoss, P, Q),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss, X, Q),
}
SAMPLES = {
    "NLLLoss": (nn.NLLLoss, np.log(D), CLASSES),
    "CrossEntropyLoss": (nn.CrossEntropyLoss, X, CLASSES),
    "CrossEntropyLoss-probabilities": (nn.CrossEntropyLoss, X, D),
}
ALL = ELEMENTS | SAMPLES


# Reductions.


@pytest.mark.parametrize("name", ALL)
def test_every_reduction_is_made_of_the_losses_of_reduction_none(name):
    make, x, t = ALL[name]
    losses = make(reduction="none")(x, t)
    assert losses.shape == ((4, 3) if name in ELEMENTS else (4,))
    for reduction, want in (("sum", losses.sum()), ("mean", losses.mean()), ("batchmean", losses.sum() / 4)):
        value = make(reduction=reduction)(x, t)
        assert type(value) is float
        assert value == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_every_reductions_gradient_is_a_multiple_of_that_of_the_sum(name):
    make, x, t = ALL[name]
    gradients = {}
    for reduction in ("sum", "mean", "batchmean", "none"):
        criterion = make(reduction=reduction)
        criterion(x, t)
        gradients[reduction] = criterion.backward()
        assert gradients[reduction].shape == x.shape
        assert gradients[reduction].dtype == x.dtype
    count = 12 if name in ELEMENTS else 4
    np.testing.assert_allclose(gradients["mean"], gradients["sum"] / count, rtol=1e-12)
    np.testing.assert_allclose(gradients["batchmean"], gradients["sum"] / 4, rtol=1e-12)
    assert (gradients["none"] == gradients["sum"]).all()


@pytest.mark.parametrize("name", ALL)
def test_without_reduction_grad_output_weighs_each_loss(name):
    make, x, t = ALL[name]
    criterion = make(reduction="none")
    losses = criterion(x, t)
    each = criterion.backward()
    criterion(x, t)
    weights = np.random.default_rng(1).standard_normal(losses.shape)
    spread = weights if name in ELEMENTS else weights[:, None]
    np.testing.assert_allclose(criterion.backward(weights), each * spread, rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_grad_output_has_the_losses_shape_and_dtype(name):
    make, x, t = ALL[name]
    criterion = make(reduction="none")
    losses = criterion(x, t)
    with pytest.raises(ValueError, match=r"expected grad_output of shape \(4"):
        criterion.backward(np.ones((4, 1)))
    with pytest.raises(TypeError, match="expected an array of float64 for grad_output, got float32"):
        criterion.backward(np.ones(losses.shape, dtype=np.float32))
    with pytest.raises(TypeError, match="expected a NumPy array of float64 for grad_output, got float"):
        criterion.backward(1.0)


@pytest.mark.parametrize("name", ALL)
def test_a_reduced_loss_takes_no_grad_output(name):
    make, x, t = ALL[name]
    criterion = make()
    criterion(x, t)
    with pytest.raises(ValueError, match=r"expected no grad_output with reduction 'mean'; call backward\(\)"):
        criterion.backward(np.ones(4))


def test_the_mean_of_weighted_classes_divides_by_the_weights_of_the_targets():
    weight = np.array([1.0, 2.0, 4.0])
    for make, x in ((nn.CrossEntropyLoss, X), (nn.NLLLoss, np.log(D))):
        losses = make(reduction="none")(x, CLASSES)
        criterion = make(weight)
        assert criterion(x, CLASSES) == pytest.approx(
            (losses * weight[CLASSES]).sum() / weight[CLASSES].sum(), rel=1e-12
        )


def test_ignored_targets_count_for_nothing():
    some = np.array([2, 1, 1, 2])
    for make, x in ((nn.CrossEntropyLoss, X), (nn.NLLLoss, np.log(D))):
        criterion, part = make(ignore_index=1), make()
        assert criterion(x, some) == pytest.approx(part(x[[0, 3]], some[[0, 3]]), rel=1e-12)
        gx = criterion.backward()
        assert not gx[1:3].any()
        np.testing.assert_allclose(gx[[0, 3]], part.backward(), rtol=1e-12)
        assert make(ignore_index=1, reduction="none")(x, some)[1:3].tolist() == [0, 0]


def test_an_ignored_target_needs_not_be_a_class():
    targets = np.array([2, -100, 1, -100])
    assert nn.CrossEntropyLoss()(X, targets) == pytest.approx(nn.CrossEntropyLoss()(X[[0, 2]], targets[[0, 2]]))
    targets = np.array([2, 255, 1, 255], dtype=np.uint8)
    assert nn.CrossEntropyLoss(ignore_index=255)(X, targets) == pytest.approx(
        nn.CrossEntropyLoss()(X[[0, 2]], targets[[0, 2]])
    )


def test_when_every_target_is_ignored_the_mean_is_nan_as_torchs_and_the_gradient_zero():
    for criterion in (nn.CrossEntropyLoss(ignore_index=1), nn.NLLLoss(ignore_index=1)):
        assert np.isnan(criterion(X, np.ones(4, dtype=int)))
        assert not criterion.backward().any()


def test_weights_of_elements_broadcast():
    x, t = P, Q
    losses = nn.BCELoss(reduction="none")(x, t)
    row, column = np.array([1.0, 2.0, 0.0]), np.arange(4.0)[:, None]
    np.testing.assert_allclose(nn.BCELoss(row, reduction="none")(x, t), losses * row, rtol=1e-12)
    np.testing.assert_allclose(nn.BCELoss(column, reduction="none")(x, t), losses * column, rtol=1e-12)
    np.testing.assert_allclose(nn.BCELoss(2.0, reduction="sum")(x, t), 2 * losses.sum(), rtol=1e-12)
    with pytest.raises(ValueError, match=r"expected a weight that broadcasts to the output's \(4, 3\), got \(4,\)"):
        nn.BCELoss(np.ones(4))(x, t)
    with pytest.raises(ValueError, match=r"expected a pos_weight that broadcasts"):
        nn.BCEWithLogitsLoss(pos_weight=np.ones((2, 4, 3)))(x, t)


# Nothing.


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean", "none"])
def test_an_empty_batch_has_loss_zero_and_an_empty_gradient(name, reduction):
    make, x, t = ALL[name]
    criterion = make(reduction=reduction)
    value = criterion(x[:0], t[:0])
    if reduction == "none":
        assert value.size == 0
    else:
        assert value == 0.0
    assert criterion.backward().shape == (0, 3)


@pytest.mark.parametrize("name", ALL)
def test_backward_without_forward_is_a_runtime_error(name):
    make, x, t = ALL[name]
    criterion = make()
    with pytest.raises(RuntimeError, match="expected a forward before each backward"):
        criterion.backward()
    with fastdl.no_grad():
        criterion(x, t)
    with pytest.raises(RuntimeError, match="expected a forward before each backward"):
        criterion.backward()


# NaN.


@pytest.mark.parametrize("name", ALL)
def test_a_nan_in_the_output_stays(name, dtype):
    make, x, t = ALL[name]
    x = x.astype(dtype)
    x[2] = np.nan
    t = t.astype(dtype) if t.dtype.kind == "f" else t
    criterion = make(reduction="none")
    losses = criterion(x, t)
    assert np.isnan(losses[2]).all()
    assert np.isfinite(losses[[0, 1, 3]]).all()
    assert np.isnan(make()(x, t))
    assert np.isfinite(criterion.backward()[[0, 1, 3]]).all()


@pytest.mark.parametrize("name", ["MSELoss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss"])
def test_a_nan_in_the_output_is_in_the_gradient(name):
    make, x, t = ALL[name]
    x = x.copy()
    x[2] = np.nan
    criterion = make(reduction="none")
    criterion(x, t)
    assert np.isnan(criterion.backward()[2]).all()


# Shapes and kinds.


@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("shape", [(4,), (4, 1), (1, 3), (3, 4), (4, 3, 1), ()])
def test_output_and_target_have_one_shape(name, shape):
    make, x, _ = ELEMENTS[name]
    with pytest.raises(
        ValueError, match=rf"^{make.__name__}\(\): expected output and target of one shape, got \(4, 3\) and"
    ):
        make()(x, np.full(shape, 0.5))


@pytest.mark.parametrize("name", ["NLLLoss", "CrossEntropyLoss"])
@pytest.mark.parametrize("shape", [(3,), (4, 1), (4, 3), (1,), ()])
def test_class_indices_have_the_scores_shape_without_the_classes(name, shape):
    make, x, _ = SAMPLES[name]
    with pytest.raises(ValueError, match=rf"^{name}\(\): expected class indices of shape \(4,\) for scores \(4, 3\)"):
        make()(x, np.zeros(shape, dtype=int))


@pytest.mark.parametrize("shape", [(4, 2), (3, 3), (4, 3, 1), (3,)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_target_probabilities_have_the_scores_shape(shape, kind):
    with pytest.raises(ValueError, match=r"expected target probabilities of the scores' shape \(4, 3\)"):
        nn.CrossEntropyLoss()(X, np.ones(shape, kind))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_class_indices_as_floats_are_refused_with_what_to_write(kind):
    with pytest.raises(TypeError, match=r"expected integer class indices, or .*; write y\.astype\(np\.int64\)"):
        nn.CrossEntropyLoss()(X, np.ones(4, kind))


@pytest.mark.parametrize("name", ["NLLLoss", "CrossEntropyLoss"])
@pytest.mark.parametrize("shape", [(3,), (), (4, 0), (0, 0)])
def test_scores_have_an_axis_of_classes(name, shape):
    make, _, _ = SAMPLES[name]
    with pytest.raises(ValueError, match=rf"^{name}\(\): expected scores of shape \(N, C\)"):
        make()(np.zeros(shape), np.zeros(shape[:1], dtype=int))


@pytest.mark.parametrize("name", ["NLLLoss", "CrossEntropyLoss"])
def test_class_weights_are_one_for_each_class(name):
    make, x, t = SAMPLES[name]
    with pytest.raises(ValueError, match="expected scores of 2 classes, one a weight"):
        make(weight=[1.0, 2.0])(x, t)


@pytest.mark.parametrize("name", ["NLLLoss", "CrossEntropyLoss"])
@pytest.mark.parametrize(
    ("targets", "got"),
    [
        (np.array([0, 1, 3, 4]), "3 at index 2"),
        (np.array([0, -1, 2, 2]), "-1 at index 1"),
        (np.array([0, 1, 2, 200], dtype=np.uint8), "200 at index 3"),
        (np.array([2**63 + 5, 1, 2, 2], dtype=np.uint64), "9223372036854775813 at index 0"),
        (np.array([2**64 - 100, 1, 2, 2], dtype=np.uint64), "18446744073709551516 at index 0"),
        (np.array([np.iinfo(np.int64).min, 1, 2, 2]), "-9223372036854775808 at index 0"),
    ],
)
def test_a_class_index_out_of_range_is_named_with_its_place(name, targets, got):
    make, x, _ = SAMPLES[name]
    with pytest.raises(ValueError, match=rf"^{name}\(\): expected class indices from 0 to 2, got {got}$"):
        make()(x, targets)


def test_a_class_index_out_of_range_is_named_with_its_place_in_every_axis():
    targets = np.zeros((2, 4, 5), dtype=int)
    targets[1, 2, 3] = 7
    with pytest.raises(ValueError, match="got 7 at index 1, 2, 3"):
        nn.CrossEntropyLoss()(np.zeros((2, 3, 4, 5)), targets)


@pytest.mark.parametrize("name", ["NLLLoss", "CrossEntropyLoss"])
@pytest.mark.parametrize(
    "targets", [np.array([True] * 4), np.array([None] * 4), np.array(["a"] * 4), np.ones(4, complex)]
)
def test_class_indices_are_integers(name, targets):
    make, x, _ = SAMPLES[name]
    with pytest.raises(TypeError, match="expected integer class indices"):
        make()(x, targets)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_class_indices_may_be_of_any_integer_dtype_and_layout(kind):
    spread = np.repeat(CLASSES, 2).astype(kind)[::2]
    assert nn.CrossEntropyLoss()(X, spread) == nn.CrossEntropyLoss()(X, CLASSES)


@pytest.mark.parametrize(
    ("output", "target", "message"),
    [
        (np.array([0.5, 1.5]), np.array([0.0, 1.0]), "outputs from 0 to 1, got 0.5 to 1.5"),
        (np.array([-0.5, 0.5]), np.array([0.0, 1.0]), "outputs from 0 to 1, got -0.5 to 0.5"),
        (np.array([0.5, 0.5]), np.array([0.0, 1.5]), "targets from 0 to 1, got 0.0 to 1.5"),
    ],
)
def test_bce_wants_probabilities(output, target, message):
    with pytest.raises(ValueError, match=rf"^BCELoss\(\): expected {message}"):
        nn.BCELoss()(output, target)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("output", [X.astype(np.float16), X.astype(int), X.astype(object), X.tolist(), None, 1.0, "x"])
def test_the_output_is_an_array_of_float32_or_float64(name, output):
    make, _, t = ALL[name]
    with pytest.raises(TypeError, match=rf"^{make.__name__}\(\): expected an? (NumPy )?array of float32 or float64"):
        make()(output, t)


@pytest.mark.parametrize("name", [*ELEMENTS, "CrossEntropyLoss-probabilities"])
def test_a_floating_target_is_of_the_outputs_dtype(name):
    make, x, t = ALL[name]
    with pytest.raises(TypeError, match=rf"^{make.__name__}\(\): expected an array of float64 for target, got float32"):
        make()(x, t.astype(np.float32))


@pytest.mark.parametrize("name", ELEMENTS)
def test_an_integer_target_is_refused_by_losses_of_numbers(name):
    make, x, _ = ELEMENTS[name]
    with pytest.raises(TypeError, match=rf"^{make.__name__}\(\): expected an array of float.*, got int64"):
        make()(x, np.ones(x.shape, dtype=int))


@pytest.mark.parametrize("name", ALL)
def test_any_layout_gives_the_same_loss_and_gradient(name):
    make, x, t = ALL[name]
    want = make()
    value = want(x, t)
    for view in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2], lambda a: a[::-1].copy()[::-1]):
        criterion = make()
        assert criterion(view(x), view(t)) == value
        gradient = criterion.backward()
        want(x, t)
        assert (gradient == want.backward()).all()
        assert gradient.flags.c_contiguous


def test_l1_is_mae():
    assert nn.L1Loss is nn.MAELoss


# Scalars, single samples, weights of any sign.


@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_numbers_and_arrays_without_axes_are_losses_of_one_element(name, kind):
    make = ELEMENTS[name][0]
    for scalar in (kind(0.3), np.array(0.3, kind)):
        for target in (kind(0.5), np.array(0.5, kind)):
            for reduction in ("mean", "sum", "batchmean"):
                criterion, want = make(reduction=reduction), make(reduction=reduction)
                assert criterion(scalar, target) == want(np.array([0.3], kind), np.array([0.5], kind))
                gradient = criterion.backward()
                assert type(gradient) is np.ndarray
                assert (gradient.shape, gradient.dtype) == ((), kind)
                assert gradient == want.backward()
            criterion, want = make(reduction="none"), make(reduction="none")
            losses = criterion(scalar, target)
            want(scalar, target)
            assert (losses.shape, losses.dtype) == ((), kind)
            assert criterion.backward(np.array(2, kind)) == 2 * want.backward()


@pytest.mark.parametrize("name", ELEMENTS)
def test_a_number_and_an_array_are_not_of_one_shape(name):
    make, x, t = ELEMENTS[name]
    for output, target in ((np.float64(0.3), t), (x, np.float64(0.3))):
        with pytest.raises(ValueError, match="expected output and target of one shape, got"):
            make()(output, target)


def test_a_loss_of_ones_own_takes_a_number():
    class Square(nn.Loss):
        def function(self, output, target):
            return (output - target) ** 2

        def derivative(self, output, target):
            return 2 * (output - target)

    criterion = Square()
    assert criterion(np.float64(3.0), np.float64(1.0)) == 4.0
    gradient = criterion.backward()
    assert (gradient.shape, float(gradient)) == ((), 4.0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "batchmean", "none"])
@pytest.mark.parametrize("target", [1, np.int64(1), np.array(1, np.uint8), "probabilities", -100])
@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_scores_of_one_sample_need_no_axis_of_samples(kind, target, reduction):
    if target == "probabilities" and kind is nn.NLLLoss:
        return
    scores = np.array([0.5, -1.0, 2.0])
    if target == "probabilities":
        target = np.array([0.2, 0.3, 0.5])
    one, row = kind(weight=[1.0, 2.0, 3.0], reduction=reduction), kind(weight=[1.0, 2.0, 3.0], reduction=reduction)
    loss = one(scores, target)
    np.testing.assert_array_equal(loss, np.squeeze(row(scores[None], np.asarray(target)[None])))
    assert np.shape(loss) == ()
    np.testing.assert_array_equal(one.backward(), row.backward()[0])


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_the_class_of_one_sample_is_one_of_the_classes(kind):
    with pytest.raises(ValueError, match=r"expected class indices from 0 to 2, got 3$"):
        kind()(np.zeros(3), 3)
    with pytest.raises(ValueError, match="expected scores of 2 classes, one a weight"):
        kind(weight=[1.0, 2.0])(np.zeros(3), 0)
    with pytest.raises(ValueError, match=r"expected class indices of shape \(4,\)"):
        kind()(np.zeros((4, 3)), 0)


@pytest.mark.parametrize("sizes", [[1.0, -3.0, 0.5], [-1.0, -2.0, -0.5]])
@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss])
def test_weights_of_classes_may_be_negative(kind, sizes):
    losses = kind(weight=sizes, reduction="none")(X, CLASSES)
    np.testing.assert_allclose(losses, np.array(sizes)[CLASSES] * kind(reduction="none")(X, CLASSES))
    total = np.array(sizes)[CLASSES].sum()
    assert kind(weight=sizes)(X, CLASSES) == pytest.approx(losses.sum() / total)


def test_weights_that_cancel_out_leave_no_finite_mean():
    x, t = np.array([[1.0, 2.0], [2.0, -1.0]]), np.array([0, 1])
    assert nn.NLLLoss(weight=[1.0, -1.0])(x, t) == -np.inf
    assert np.isnan(nn.NLLLoss(weight=[1.0, -1.0])(x * 0, t))


@pytest.mark.parametrize("make", [nn.CrossEntropyLoss, nn.NLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss])
@pytest.mark.parametrize("weight", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, 1.0]])
def test_weights_are_finite(make, weight):
    with pytest.raises(ValueError, match="expected finite numbers for weight"):
        make(weight=weight)
