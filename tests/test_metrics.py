"""Metrics: what counts as right."""

import numpy as np
import pytest

from fastdl.metrics import (
    accuracy,
    confusion_matrix,
    error,
    predicted_classes,
    r2_score,
    root_mean_squared_error,
)

SCORES = np.array([[0.1, 0.7, 0.2], [0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0.4, 0.3, 0.3]], dtype=np.float32)


def test_accuracy_is_the_fraction_of_samples_whose_largest_score_is_the_targets():
    assert accuracy(SCORES, [1, 0, 2, 0]) == 1
    assert accuracy(SCORES, [1, 0, 2, 1]) == 0.75
    assert accuracy(SCORES, [0, 1, 0, 2]) == 0


def test_error_is_one_minus_accuracy():
    assert error(SCORES, [1, 0, 2, 1]) == 0.25
    assert error(SCORES, [1, 0, 2, 0]) == 0


def test_one_hot_and_probability_targets_count_as_their_largest_column():
    one_hot = np.eye(3)[[1, 0, 2, 1]]
    assert accuracy(SCORES, one_hot) == 0.75
    assert accuracy(SCORES, 0.8 * one_hot + 0.2 / 3) == 0.75


def test_a_single_column_is_class_1_above_the_threshold_in_every_shape():
    probabilities, labels = np.array([0.9, 0.4, 0.6, 0.5]), np.array([1, 0, 0, 0])
    for output in (probabilities, probabilities[:, np.newaxis]):
        for target in (labels, labels.astype(float), labels.astype(bool)):
            assert accuracy(output, target) == 0.75
    assert accuracy(probabilities[:, np.newaxis], labels[:, np.newaxis]) == 0.75


def test_threshold_0_suits_logits_and_targets_of_minus_1_and_1():
    logits = [0.2, -0.3, 4.0]
    assert accuracy(logits, [1, 0, 1], threshold=0) == 1
    assert accuracy(logits, [1, -1, -1], threshold=0) == pytest.approx(2 / 3)
    assert accuracy(logits, [1, 0, 1]) == pytest.approx(2 / 3)


def test_classes_lie_on_axis_1_whatever_follows():
    pixels = np.moveaxis(SCORES.reshape(2, 2, 3), -1, 1)
    assert predicted_classes(pixels).tolist() == [[1, 0], [2, 0]]
    assert accuracy(pixels, [[1, 0], [2, 2]]) == 0.75


def test_the_first_of_equal_scores_wins():
    assert predicted_classes([[0.5, 0.5]]).tolist() == [0]


def test_a_nan_among_the_scores_is_wrong():
    scores = SCORES.copy()
    scores[0, 1] = np.nan
    assert accuracy(scores, [1, 0, 2, 0]) == 0.75
    assert error([np.nan, 0.9], [0, 1]) == 0.5


def test_a_confusion_matrix_counts_each_class_taken_for_each():
    expected = [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert confusion_matrix(SCORES[[0, 1, 2, 2]], [1, 0, 2, 0]).tolist() == expected
    assert confusion_matrix(SCORES[[0, 1, 2, 2]], np.eye(3)[[1, 0, 2, 0]]).tolist() == expected
    assert confusion_matrix(SCORES, np.array([1, 0, 2, 0], np.uint8)).dtype == np.int64
    pixels = np.moveaxis(SCORES.reshape(2, 2, 3), -1, 1)
    assert confusion_matrix(pixels, [[1, 0], [2, 1]]).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_a_confusion_matrix_of_a_single_column_is_of_two_classes():
    for output in (np.array([0.9, 0.4, 0.6, 0.5]), np.array([[0.9], [0.4], [0.6], [0.5]])):
        assert confusion_matrix(output, np.array([1, 0, 0, 0])).tolist() == [[2, 1], [0, 1]]


def test_the_diagonal_of_the_confusion_matrix_is_the_accuracy():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 7)), rng.integers(0, 7, 200)
    counts = confusion_matrix(scores, labels)
    assert counts.trace() / counts.sum() == pytest.approx(accuracy(scores, labels))
    assert counts.sum(axis=1).tolist() == np.bincount(labels, minlength=7).tolist()


def test_r2_is_the_part_of_the_variance_that_is_explained():
    target = np.array([[1.0], [2.0], [3.0]])
    assert r2_score(target, target) == 1
    assert r2_score(np.full_like(target, 2), target) == 0
    assert r2_score(target[::-1], target) == -3
    assert r2_score([[1, 0], [2, 0], [4, 0]], [[1, 0], [2, 0], [3, 1]]) == pytest.approx((0.5 - 0.5) / 2)


def test_r2_of_a_constant_target_is_1_only_where_it_is_met():
    target = np.full((3, 1), np.float32(0.1))
    assert r2_score(target, target) == 1
    assert r2_score(target + 1, target) == 0
    assert r2_score([2.0], [2.0]) == 1


def test_a_constant_whose_mean_is_rounded_is_constant():
    assert np.full(3, 0.1).mean() != 0.1
    assert r2_score([0.1] * 3, [0.1] * 3) == 1
    assert r2_score([0.2] * 3, [0.1] * 3) == 0


def test_the_root_mean_squared_error_has_the_targets_unit():
    assert root_mean_squared_error([1000, 1004], [1003, 1000]) == pytest.approx(np.sqrt(12.5))
    assert root_mean_squared_error(np.float32([[1, 2]]), np.float32([[1, 2]])) == 0


@pytest.mark.parametrize("metric", [r2_score, root_mean_squared_error])
@pytest.mark.parametrize(
    ("output", "target", "kind", "message"),
    [
        ([1.0, 2.0], [1.0], ValueError, r"of one shape and with samples, got \(2,\) and \(1,\)"),
        ([[1.0], [2.0]], [1.0, 2.0], ValueError, r"got \(2, 1\) and \(2,\)"),
        ([], [], ValueError, "with samples"),
        (1.0, 1.0, ValueError, "expected output and target with rows"),
        (["a"], [1.0], TypeError, "expected an array of numbers for output"),
        ([1.0], [None], TypeError, "expected an array of numbers for target"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(metric, output, target, kind, message):
    with pytest.raises(kind, match=f"^{metric.__name__}: .*{message}"):
        metric(output, target)


@pytest.mark.parametrize("metric", [accuracy, error, confusion_matrix])
@pytest.mark.parametrize(
    ("output", "target", "kind", "message"),
    [
        (SCORES, [1, 0, 2], ValueError, r"expected target of shape \(4,\) .* or \(4, 3\), got \(3,\)"),
        (SCORES, [1, 0, 2, 3], ValueError, "expected class indices from 0 to 2, got 3"),
        (SCORES, [1, 0, -1, 2], ValueError, "expected class indices from 0 to 2, got -1"),
        (SCORES, [1.0, 0.0, 2.0, 0.0], TypeError, "expected integer class indices, got float64"),
        (SCORES[:0], np.zeros(0, int), ValueError, "at least one sample"),
        (SCORES, ["a", "b", "c", "d"], TypeError, "expected an array of numbers for target"),
        ([[None, 1]], [1], TypeError, "expected an array of numbers for output"),
        ([0.1, 0.9], [[1], [0], [1]], ValueError, r"expected target of shape \(2,\), got \(3, 1\)"),
        (0.5, [1], ValueError, r"at least one sample, got shape \(\)"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_name(metric, output, target, kind, message):
    with pytest.raises(kind, match=f"^{metric.__name__}: .*{message}"):
        metric(output, target)


def test_a_threshold_is_a_finite_number():
    with pytest.raises(ValueError, match="threshold"):
        accuracy([0.5], [1], threshold=np.nan)
    with pytest.raises(TypeError, match="threshold"):
        predicted_classes([0.5], threshold="half")


@pytest.mark.parametrize("scale", [2.0**-600, 2.0**-60, 2.0**60, 2.0**600, 2.0**1020])
def test_values_of_any_size_are_measured(scale):
    output, target = np.array([[1.0, 5.0], [2.0, 5.5], [4.0, 7.0]]), np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    one, two = output * [scale, 1], target * [scale, 1]
    assert r2_score(one, two) == r2_score(output, target)
    assert root_mean_squared_error(output * scale, target * scale) == pytest.approx(
        root_mean_squared_error(output, target) * scale, rel=1e-15
    )
    assert np.isnan(root_mean_squared_error([np.nan, scale], [1.0, 1.0]))


def test_the_least_and_the_largest_numbers_are_measured():
    least, most = 5e-324, np.finfo(float).max
    assert root_mean_squared_error([least, 0.0], [0.0, least]) == least
    assert root_mean_squared_error([most, 0.0], [0.0, most]) == most
    assert r2_score([least, 0.0], [least, 0.0]) == r2_score([most, -most], [most, -most]) == 1
