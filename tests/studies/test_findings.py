"""Each study, run in seconds, points the way that its paper points."""

import pytest

from fastdl import studies
from fastdl.studies import disk_accuracy, pytorch
from fastdl.studies.run import run

# Their quick runs take longer than a few seconds.
SLOW = ("activations", "batchnorm", "convolution", "digits", "dropout", "label-noise", "vectorization")


def measured(study, folder):
    """The results of a study, which writes its report."""
    if study.needs_sklearn:
        pytest.importorskip("sklearn")
    found = run(study, folder)
    assert (folder / f"{study.name}.md").read_text().startswith(f"# {study.name}: ")
    return found


@pytest.fixture(autouse=True, scope="module")
def without_pytorch():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch, "installed", lambda: False)
        yield


@pytest.fixture(scope="module")
def results(request, tmp_path_factory):
    """The quick results of the study that a test is about."""
    return measured(studies.find(request.param)(quick=True), tmp_path_factory.mktemp("study"))


def about(name):
    marks = pytest.mark.slow if name in SLOW else ()
    return pytest.mark.parametrize("results", [pytest.param(name, marks=marks)], indirect=True, scope="module")


@pytest.mark.parametrize("name", [SLOW[0], *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW[1:])])
def test_one_epoch_of_a_longer_study_measures_every_case(name, tmp_path):
    study = studies.find(name)(quick=True, runs=1, epochs=1)
    results = measured(study, tmp_path)
    assert results.cases == [case for case in study.cases() if case.get("framework") != "PyTorch"]


TEST = "test error [%]"


@about("disk-accuracy")
def test_the_disk_is_learned_unless_decay_is_not_scaled_by_the_rate(results):
    accuracies = {case["weight decay"]: results.of("test accuracy [%]", case).mean for case in results.cases}
    none, outright, scaled = (accuracies[decay] for decay in disk_accuracy.DECAYS)
    assert min(none, scaled) > 85
    assert outright < 70


@about("disk-sgd")
def test_a_loss_summed_over_the_batch_learns_the_disk_faster_than_one_averaged(results):
    averaged, summed = (
        results.one(TEST, activation="ReLU", inputs="as drawn", **{"loss over the batch": loss}).mean
        for loss in ("averaged", "summed")
    )
    assert summed < averaged - 10


@about("optimizers")
@pytest.mark.parametrize("activation", ["ReLU", "Tanh"])
def test_rmsprop_and_adam_end_lower_than_sgd(results, activation):
    entries = {"loss over the batch": "averaged", "activation": activation}
    ends = {
        name: results.one("train loss at the end", optimizer=name, **entries).mean
        for name in ("SGD", "Adam", "RMSProp")
    }
    assert max(ends["RMSProp"], ends["Adam"]) < 0.8 * ends["SGD"]


@about("optimizers")
def test_a_summed_loss_lets_sgd_lead_and_then_makes_it_noisy(results):
    entries = {"loss over the batch": "summed", "activation": "ReLU"}
    noises = {
        name: results.one("noise of the train loss [%]", optimizer=name, **entries).mean for name in ("SGD", "Adam")
    }
    assert noises["SGD"] > 2 * noises["Adam"]
    early = {name: results.curve("train loss", optimizer=name, **entries)[0][2] for name in ("SGD", "Adam")}
    assert early["SGD"] < early["Adam"] - 0.05


@about("dropout")
def test_dropout_lowers_the_error_on_clean_points_and_raises_it_on_noisy_ones(results):
    for measure, sign in ((TEST, 1), ("train error [%]", -1)):
        without, dropped = (results.one(measure, dropout=dropout).mean for dropout in ("none", "0.5"))
        assert sign * (without - dropped) > 1


@about("momentum")
@pytest.mark.parametrize("loss", ["MSE", "cross entropy"])
@pytest.mark.parametrize("weights", ["paper's", "PyTorch's"])
def test_momentum_lowers_the_error(results, loss, weights):
    none, much = (results.one(TEST, loss=loss, weights=weights, momentum=m).mean for m in (0.0, 0.9))
    assert much < none / 2


@about("learning-rate")
def test_relu_and_the_papers_weights_learn_at_lower_rates(results):
    def errors(activation, weights):
        return dict(zip(*results.line(TEST, "rate", activation=activation, weights=weights)[:2], strict=True))

    for weights in ("paper's", "PyTorch's"):
        relu, tanh = (errors(activation, weights) for activation in ("ReLU", "Tanh"))
        assert relu[0.01] < tanh[0.01] - 1
        assert relu[0.0001] > relu[0.01] + 5
    for activation in ("ReLU", "Tanh"):
        assert errors(activation, "paper's")[0.01] < errors(activation, "PyTorch's")[0.01] - 10
        assert errors(activation, "PyTorch's")[0.1] < 12


@about("epochs")
@pytest.mark.parametrize("loss", ["MSE", "cross entropy"])
@pytest.mark.parametrize("weights", ["paper's", "PyTorch's"])
def test_more_epochs_lower_the_error(results, loss, weights):
    few, some, many = results.line(TEST, "epochs", loss=loss, weights=weights)[1]
    assert few > some - 1
    assert few > many + 3


@about("initialization")
def test_larger_initial_parameters_are_better_up_to_one(results):
    errors = [results.one(TEST, a=a).mean for a in (0.2, 0.5, 1.0)]
    assert errors[0] > errors[1] + 10
    assert errors[1] > errors[2] + 5


@about("batch-size")
def test_larger_batches_take_less_time(results):
    times = {case["batch"]: results.values("training time [s]", case).min() for case in results.cases}
    assert times[1] > 1.2 * times[10]
    assert times[1] > 1.5 * times[1000]


@about("vectorization")
def test_naive_loops_are_slower_by_a_large_factor(results):
    # The shortest of the runs: other work on the machine may hold one up.
    times = {case["way"]: results.values("time [s]", case).min() for case in results.cases}
    for way in ("explicit loop", "fit"):
        assert times["naive loops over arrays"] > 20 * times[way]
        assert times["naive loops over lists"] > 3 * times[way]
    errors = {results.of(TEST, case).mean for case in results.cases}
    assert max(errors) - min(errors) <= 1


@about("batchnorm")
@pytest.mark.parametrize("output", ["ReLU", "none"])
def test_batch_normalization_learns_what_the_same_net_without_does_not(results, output):
    given, without, steps, both = (
        results.one("test accuracy", change=change, output=output, framework="fastdl").mean
        for change in ("as given", "no batch normalization", "an epoch is one mini-batch", "both of these")
    )
    assert given > without + 0.2
    assert both < given - 0.05
    assert steps < given


@about("convolution")
def test_the_convolutional_net_learns_when_tuned_and_given_more_images(results):
    given, tuned, more = (
        results.one("test accuracy", framework="fastdl", **{"set-up": setup}).mean
        for setup in ("as given", "tuned", "tuned, more images")
    )
    assert more > max(given, tuned) + 0.1
    for case in results.cases:
        assert abs(results.of("label 1 [%]", case).mean - 50) < 4


@about("cross-validation")
@pytest.mark.parametrize("activation", ["ReLU", "Tanh"])
def test_a_search_finds_high_rate_and_momentum_the_best(results, activation):
    scores, _ = results.curve("accuracies over the grid", activation=activation, **{"set-up": "as given"})
    assert scores[-1] > scores[0] + 10  # the grid goes from low to high momentum and rate


@about("activations")
def test_relu_learns_and_sigmoid_does_so_only_in_a_shallow_net(results):
    deep, shallow = (
        {
            activation: results.one(TEST.replace("error", "accuracy"), activation=activation, **setup).mean
            for activation in ("ReLU", "Sigmoid")
        }
        for setup in ({"set-up": "as given", "framework": "fastdl"}, {"set-up": "one hidden layer, standardized"})
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
        mark.args[1][0].values[0]
        for test in globals().values()
        for mark in getattr(test, "pytestmark", [])
        if mark.args[0] == "results"
    }
    assert tested == set(studies.NAMES)
