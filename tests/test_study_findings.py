"""Each study, run in seconds, points the way that its paper points."""

import pytest

from fastdl import studies
from fastdl.studies import pytorch
from fastdl.studies.run import run


@pytest.fixture
def results(request, tmp_path, monkeypatch):
    """The quick results of the study that a test is about, without PyTorch."""
    monkeypatch.setattr(pytorch, "installed", lambda: False)
    study = studies.find(request.param)(quick=True)
    if study.needs_sklearn:
        pytest.importorskip("sklearn")
    found = run(study, tmp_path)
    assert (tmp_path / f"{study.name}.md").read_text().startswith(f"# {study.name}: ")
    return found


def about(name):
    return pytest.mark.parametrize("results", [name], indirect=True)


TEST = "test error [%]"


@about("disk-sgd")
def test_a_loss_summed_over_the_batch_learns_the_disk_faster_than_one_averaged(results):
    averaged, summed = (
        results.one(TEST, activation="ReLU", inputs="as drawn", **{"loss over the batch": loss}).mean
        for loss in ("averaged", "summed")
    )
    assert summed < averaged - 10


@about("momentum")
@pytest.mark.parametrize("loss", ["MSE", "cross entropy"])
@pytest.mark.parametrize("weights", ["paper's", "PyTorch's"])
def test_momentum_lowers_the_error(results, loss, weights):
    none, much = (results.one(TEST, loss=loss, weights=weights, momentum=m).mean for m in (0.0, 0.9))
    assert much < none / 2


@about("initialization")
def test_larger_initial_parameters_are_better_up_to_one(results):
    errors = [results.one(TEST, a=a).mean for a in (0.2, 0.5, 1.0)]
    assert errors[0] > errors[1] + 10
    assert errors[1] > errors[2] + 5


@about("vectorization")
def test_naive_loops_are_slower_by_a_large_factor(results):
    times = {case["way"]: results.of("time [s]", case).mean for case in results.cases}
    for way in ("explicit loop", "fit"):
        assert times["naive loops over arrays"] > 20 * times[way]
        assert times["naive loops over lists"] > 3 * times[way]
    errors = {results.of(TEST, case).mean for case in results.cases}
    assert max(errors) - min(errors) <= 1


@about("batchnorm")
@pytest.mark.parametrize("output", ["ReLU", "none"])
def test_batch_normalization_learns_what_the_same_net_without_does_not(results, output):
    told, without, steps, both = (
        results.one("test accuracy", change=change, output=output, framework="fastdl").mean
        for change in ("as told", "no batch normalization", "an epoch is one mini-batch", "both of these")
    )
    assert told > without + 0.2
    assert both < told - 0.05
    assert steps < told


@about("convolution")
def test_the_convolutional_net_learns_when_tuned_and_given_more_images(results):
    told, tuned, more = (
        results.one("test accuracy", framework="fastdl", **{"set-up": setup}).mean
        for setup in ("as told", "tuned", "tuned, more images")
    )
    assert more > max(told, tuned) + 0.1
    for case in results.cases:
        assert abs(results.of("label 1 [%]", case).mean - 50) < 4


@about("cross-validation")
@pytest.mark.parametrize("activation", ["ReLU", "Tanh"])
def test_a_search_finds_high_rate_and_momentum_the_best(results, activation):
    scores, _ = results.curve("accuracies over the grid", activation=activation, **{"set-up": "as told"})
    assert scores[-1] > scores[0] + 10  # the grid goes from low to high momentum and rate


@about("activations")
def test_relu_learns_and_sigmoid_does_so_only_in_a_shallow_net(results):
    deep, shallow = (
        {
            activation: results.one(TEST.replace("error", "accuracy"), activation=activation, **setup).mean
            for activation in ("ReLU", "Sigmoid")
        }
        for setup in ({"set-up": "as told", "framework": "fastdl"}, {"set-up": "one hidden layer, standardized"})
    )
    assert deep["ReLU"] > deep["Sigmoid"] + 20
    assert min(shallow.values()) > 80


@about("label-noise")
@pytest.mark.parametrize("loss", ["MSE", "cross entropy"])
def test_wrong_labels_raise_the_error_by_less_than_their_share(results, loss):
    _, errors, _ = results.line(TEST, "noise", loss=loss, epochs=100, framework="fastdl")
    assert errors[0] < 10
    assert errors[1] < 16
    assert errors[2] > errors[0] + 5


@about("digits")
def test_digits_are_learned_by_each_net_and_best_by_the_convolutional_one(results):
    dense, regular, convolutional, sklearn = (results.of("test accuracy [%]", case).mean for case in results.cases)
    assert min(dense, regular, sklearn) > 80
    assert convolutional > dense + 1


def test_every_study_is_held_to_its_direction():
    tested = {
        mark.args[1][0]
        for test in globals().values()
        for mark in getattr(test, "pytestmark", [])
        if mark.args[0] == "results"
    }
    assert tested == set(studies.NAMES)
