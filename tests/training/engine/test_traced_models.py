"""Traced models and losses in training: what the interpreter computes, whatever the inputs, targets and outputs are."""

from contextlib import nullcontext

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.data.nested import bare
from fastdl.graph import interpreter
from fastdl.graph.gradient import gradient
from fastdl.graph.trace import trace_loss
from fastdl.graph.value import Value
from fastdl.metrics import accuracy
from fastdl.nn import functional
from fastdl.nn.watching import PASSING
from fastdl.random import Stream, drawing_from
from tests.nn.test_forward_only import Net, Two

F32 = np.float32
ROWS = 75


def ppo(output, batch):
    logits, value = output
    logp = functional.log_softmax(logits)
    ratio = np.exp(np.take_along_axis(logp, batch["action"][:, None], axis=1)[:, 0] - batch["logp"])
    gain = np.minimum(ratio * batch["advantage"], np.clip(ratio, 0.8, 1.2) * batch["advantage"])
    entropy = np.mean(np.sum(np.exp(logp) * logp, axis=1))
    return np.mean(-gain + 0.5 * (value - batch["return"]) ** 2) + 0.01 * entropy


def episodes(dtype, rows=ROWS):
    rng = np.random.default_rng(0)
    targets = {
        "action": rng.integers(0, 2, rows),
        "logp": np.full(rows, np.log(0.5), dtype),
        "advantage": rng.standard_normal(rows).astype(dtype),
        "return": rng.standard_normal(rows).astype(dtype),
    }
    return rng.standard_normal((rows, 4)).astype(dtype), targets


def interpreted_fit(model, criterion, optimizer, x, y, epochs, batch_size, seed):
    """Trainer.fit, by the interpreter: node by node, a step for each batch in the rows' order."""
    losses = []
    with drawing_from(Stream(np.random.default_rng(seed))):
        for _ in range(epochs):
            total = 0.0
            for first in range(0, ROWS, batch_size):
                part = slice(first, min(first + batch_size, ROWS))
                xb, yb = x[part], {name: array[part] for name, array in y.items()}
                graph, _, loss, _ = trace_loss(model, criterion, xb, yb, xb.dtype, len(xb), PASSING)
                parameters = list(graph.parameters.items())
                wanted = [Value(graph, n, p.shape, graph.dtype, frozenset()) for n, p in parameters]
                inputs = {"x0": xb} | {f"y{n}": array for n, array in enumerate(yb.values())}
                value, *gradients = interpreter.run(graph, [loss, *gradient(loss, wanted)], inputs)
                model(xb)  # which moves the running statistics
                optimizer.zero_grad()
                for (_, parameter), found in zip(parameters, gradients, strict=True):
                    parameter.grad += found
                optimizer.step()
                total += float(value) * len(xb)
            losses.append(total / ROWS)
    return losses


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fit_is_what_the_interpreter_computes(dtype):
    """With a batch norm, a tied weight, two outputs, a dictionary of targets and a short last batch."""
    x, y = episodes(dtype)
    nets = [Net(dtype=dtype), Net(dtype=dtype)]
    optimizers = [optim.SGD(net.parameters(), lr=0.05, momentum=0.9) for net in nets]
    history = Trainer(nets[0], ppo, optimizers[0]).fit(x, y, epochs=3, batch_size=32, shuffle=False)
    assert history.engine.startswith("native")
    wanted = interpreted_fit(nets[1], ppo, optimizers[1], x, y, 3, 32, 0)
    tolerance = 2e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(history["loss"], wanted, rtol=tolerance)
    for (name, one), other in zip(nets[0].named_parameters(), nets[1].parameters(), strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=tolerance, atol=tolerance, err_msg=name)
    for one, other in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_dropout_draws_what_the_interpreter_draws():
    x, y = episodes(F32)
    net = Net(0.4)
    graph, _, loss, _ = trace_loss(net, ppo, x, y, F32, ROWS, PASSING)
    inputs = {"x0": x} | {f"y{n}": array for n, array in enumerate(y.values())}
    with drawing_from(Stream(np.random.default_rng(3))):
        (wanted,) = interpreter.run(graph, [loss], inputs)
    with drawing_from(Stream(np.random.default_rng(3))):
        got = Trainer(net, ppo, optim.SGD(net.parameters(), lr=0.1)).step(x, y)
    assert got == pytest.approx(float(wanted), rel=1e-5)


def test_the_same_bits_for_any_number_of_threads():
    x, y = episodes(F32)
    found = []
    before = fastdl.get_num_threads()
    try:
        for threads in (1, 2, 4, 7):
            fastdl.set_num_threads(threads)
            net = Net(0.3)
            Trainer(net, ppo, optim.Adam(net.parameters()), clip_norm=0.5).fit(x, y, epochs=2, batch_size=32, seed=5)
            found.append(b"".join(array.tobytes() for array in net.state_dict().values()))
    finally:
        fastdl.set_num_threads(before)
    assert len(set(found)) == 1


def test_steps_are_those_of_a_fit():
    x, y = episodes(F32)
    nets = [Net(), Net()]
    trainers = [Trainer(net, ppo, optim.Adam(net.parameters(), lr=0.01), clip_norm=0.5) for net in nets]
    history = trainers[0].fit(x, y, epochs=1, batch_size=25, shuffle=False)
    parts = [slice(first, first + 25) for first in range(0, ROWS, 25)]
    losses = [trainers[1].step(x[part], {name: array[part] for name, array in y.items()}) for part in parts]
    assert history["loss"][0] == pytest.approx(np.mean(losses), rel=1e-6)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        np.testing.assert_array_equal(one.data, other.data)


def test_a_step_with_a_loss_of_outputs_alone():
    net = Net()
    trainer = Trainer(net, ppo, optim.SGD(net.parameters(), lr=0.1))
    x, _ = episodes(F32)

    def far_from_one(output):
        return (output[1] - 1) ** 2  # one for each sample

    losses = [trainer.step(x, loss=far_from_one) for _ in range(20)]
    assert losses[-1] < losses[0] / 2


def test_inputs_in_a_dictionary_or_tuple_and_a_loss_of_fastdls_own():
    rng = np.random.default_rng(2)
    x = {"image": rng.standard_normal((50, 3)).astype(F32), "state": rng.standard_normal((50, 2)).astype(F32)}
    y = np.sin(x["image"][:, :1])

    class First(Two):
        def forward(self, image, state):
            return super().forward(image, state)["y"]

    models = [First(), First()]
    trainers = [Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)) for model in models]
    losses = [
        trainers[0].fit(x, y, epochs=4, batch_size=16, seed=0, validation_data=(x, y)),
        trainers[1].fit((x["image"], x["state"]), y, epochs=4, batch_size=16, seed=0),
    ]
    assert losses[0].engine.startswith("native")
    assert losses[0]["loss"] == losses[1]["loss"]
    assert losses[0]["val_loss"][-1] < losses[0]["val_loss"][0]
    np.testing.assert_array_equal(trainers[0].predict(x), trainers[1].predict((x["image"], x["state"]), batch_size=50))
    np.testing.assert_allclose(trainers[0].predict(x, batch_size=7), trainers[0].predict(x), rtol=1e-5, atol=1e-6)
    assert trainers[0].evaluate(x, y)["loss"] == pytest.approx(losses[0]["val_loss"][-1])


def test_metrics_see_outputs_and_targets_as_forward_returns_them():
    x, y = episodes(F32)
    net = Net()

    def right(output, target):
        return float(np.mean(np.argmax(output[0], axis=1) == target["action"]))

    trainer = Trainer(net, ppo, optim.Adam(net.parameters()), metrics=[right])
    history = trainer.fit(x, y, epochs=2, batch_size=32, seed=0)
    assert history.engine.startswith("native")
    assert 0 <= history["right"][-1] <= 1
    assert trainer.evaluate(x, y)["right"] == pytest.approx(right(trainer.predict(x), y))


def test_a_function_as_the_loss_of_layers_in_a_row():
    def twins():
        return nn.Sequential(nn.Linear(3, 5, rng=0), nn.Tanh(), nn.Linear(5, 2, rng=1))

    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((40, 3)).astype(F32), rng.standard_normal((40, 2)).astype(F32)
    losses = []
    for criterion in (nn.MSELoss(), lambda output, target: np.mean((output - target) ** 2)):
        model = twins()
        trainer = Trainer(model, criterion, optim.SGD(model.parameters(), lr=0.1))
        losses.append(trainer.fit(x, y, epochs=5, batch_size=16, seed=0)["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_loss_with_a_term_over_parameters():
    def shrinking(output, target, model):
        return np.mean((output - target) ** 2) + 0.1 * np.sum(model[0].weight ** 2)

    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((40, 3)).astype(F32), rng.standard_normal((40, 1)).astype(F32)
    model = nn.Sequential(nn.Linear(3, 1, rng=0))
    before = np.abs(model[0].weight.data).sum()
    trainer = Trainer(model, shrinking, optim.SGD(model.parameters(), lr=0.1))
    history = trainer.fit(x, y, epochs=30, batch_size=20, seed=0)
    assert history.engine.startswith("native")
    plain = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    assert plain.evaluate(x, y)["loss"] < history["loss"][-1]
    assert np.abs(model[0].weight.data).sum() < before


def test_an_array_alone_where_the_loss_takes_outputs_alone():
    class Same(nn.Module):
        def __init__(self):
            self.code = nn.Linear(4, 2, rng=0)
            self.back = nn.Linear(2, 4, rng=1)

        def forward(self, x):
            return self.back(np.tanh(self.code(x))), x

    model, (x, _) = Same(), episodes(F32)
    trainer = Trainer(model, lambda output: (output[0] - output[1]) ** 2 @ np.ones(4), optim.Adam(model.parameters()))
    history = trainer.fit(x, epochs=20, batch_size=25, seed=0)
    assert history.engine.startswith("native")
    assert history["loss"][-1] < history["loss"][0]
    with pytest.raises(TypeError, match="expected y beside x"):
        Trainer(model, nn.MSELoss(), optim.SGD(model.parameters())).fit(x, epochs=1, batch_size=4)


def test_a_loss_that_asks_for_the_number_of_samples():
    def picked(output, target):
        logp = functional.log_softmax(output[0])
        return -np.mean(logp[np.arange(len(target)), target])

    x, y = episodes(F32)
    net = Net()
    trainer = Trainer(net, picked, optim.Adam(net.parameters(), lr=0.01))
    history = trainer.fit(x, y["action"], epochs=6, batch_size=32, seed=0)  # 75 rows: the last batch is shorter
    assert history.engine.startswith("native")
    assert history["loss"][-1] < history["loss"][0]


def test_what_is_not_finite_is_located():
    class Roots(nn.Module):
        def __init__(self):
            self.body = nn.Linear(4, 1, bias=False, rng=0)

        def forward(self, x):
            return np.log(self.body(x) - 1e6)[:, 0]

    x, y = episodes(F32)
    model = Roots()
    before = model.body.weight.data.copy()
    trainer = Trainer(model, lambda output, target: np.mean(output * target), optim.SGD(model.parameters()))
    with pytest.raises(
        FloatingPointError, match=r"the loss is nan in epoch 1, step 1, first in log at test_traced_models\.py"
    ):
        trainer.fit(x, y["return"], epochs=1, batch_size=25)
    np.testing.assert_array_equal(model.body.weight.data, before)


def test_an_index_out_of_range_takes_no_step():
    x, y = episodes(F32)
    net = Net()
    before = {name: array.copy() for name, array in net.state_dict().items()}
    trainer = Trainer(net, ppo, optim.SGD(net.parameters()))
    wrong = y | {"action": y["action"] + 2}
    with pytest.raises(IndexError):
        trainer.step(x, wrong)
    for name, parameter in net.named_parameters():
        np.testing.assert_array_equal(parameter.data, before[name])


@pytest.mark.parametrize(
    ("criterion", "error", "message"),
    [
        (lambda output, target: output[0], ValueError, "one number, or one loss for each sample, got shape"),
        (lambda output, target: 1.0, TypeError, "to return a loss computed from its arguments, got float"),
        (lambda output, target: np.sum(target["return"]), ValueError, "a loss that depends on parameters"),
        (lambda output, target: output[1] - target["retrun"], KeyError, "retrun"),
        (lambda output, target: np.mean(output[0] - target["return"]), ValueError, "expected shapes that broadcast"),
    ],
)
def test_losses_that_cannot_be_trained_on(criterion, error, message):
    x, y = episodes(F32)
    net = Net()
    before = {name: array.copy() for name, array in net.state_dict().items()}
    with pytest.raises(error, match=message):
        Trainer(net, criterion, optim.SGD(net.parameters())).step(x, y)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_two_trainers_over_one_module():
    """As in a GAN: each takes steps of its own part, through the other."""
    maker, judge = nn.Linear(2, 3, rng=0), nn.Linear(3, 1, rng=1)

    class Both(nn.Module):
        def __init__(self):
            self.maker, self.judge = maker, judge

        def forward(self, x):
            return self.judge(np.tanh(self.maker(x)))[:, 0]

    both, x = Both(), np.random.default_rng(0).standard_normal((30, 2)).astype(F32)
    making = Trainer(both, lambda output: -output, optim.SGD(maker.parameters(), lr=0.1))
    judging = Trainer(both, lambda output: output, optim.SGD(judge.parameters(), lr=0.1))
    held = judge.weight.data.copy()
    making.step(x)
    np.testing.assert_array_equal(judge.weight.data, held)
    made = maker.weight.data.copy()
    judging.step(x)
    np.testing.assert_array_equal(maker.weight.data, made)
    assert np.abs(judge.weight.data - held).max() > 0


def test_modules_in_python_leave_the_rest_native():
    class Doubling(nn.Module):
        def forward(self, x):
            return 2 * x

        def backward(self, grad_output):
            return 2 * grad_output

    model = nn.Sequential(nn.Linear(4, 3, rng=0), Doubling(), nn.Linear(3, 2, rng=1))
    x, y = episodes(F32)

    def picked(output, target):
        return -np.take_along_axis(functional.log_softmax(output), target[:, None], axis=1)[:, 0]

    trainer = Trainer(model, picked, optim.SGD(model.parameters(), lr=0.1))
    history = trainer.fit(x, y["action"], epochs=5, batch_size=25, seed=0)
    assert history.engine.endswith("bytes of planned memory, with Doubling in Python")
    assert history["loss"][-1] < history["loss"][0]
    assert bare(None) is None


def test_gradients_of_parameters_that_are_not_the_optimizers_add_up():
    model, (x, _) = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Linear(3, 1, rng=1)), episodes(F32)
    trainer = Trainer(model, lambda output: np.mean(output), optim.SGD(model[1].parameters(), lr=1e-12))
    trainer.step(x)
    once = model[0].weight.grad.copy()
    trainer.step(x)
    np.testing.assert_allclose(model[0].weight.grad, 2 * once, rtol=1e-5)


def test_a_later_fit_may_have_targets_of_another_kind():
    model, (x, y) = nn.Sequential(nn.Linear(4, 2, rng=0)), episodes(F32)

    def loss(output, target):
        return np.mean((output[:, 0] - target) ** 2)

    trainer = Trainer(model, loss, optim.SGD(model.parameters(), lr=1e-12))
    found = [trainer.fit(x, t, epochs=1, batch_size=25)["loss"][0] for t in (y["return"], y["action"])]
    wanted = [np.mean((model(x)[:, 0] - t) ** 2) for t in (y["return"], y["action"])]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_metrics_are_of_outputs_whose_number_of_rows_a_trace_has_asked_for():
    class Counts(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(4, 3, rng=0)

        def forward(self, x):
            return self.layer(x) / np.float32(len(x))

    x, _ = episodes(F32)
    labels = np.arange(len(x)) % 3
    found = []
    for eager in (True, False):
        model = Counts()
        trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), metrics=[accuracy])
        with fastdl.eager() if eager else nullcontext():
            history = trainer.fit(x, labels, epochs=2, batch_size=len(x) // 2 - 3, seed=0)
        assert history.engine.startswith("plain" if eager else "native")
        found.append(history["accuracy"])
    assert found[0] == found[1]


def own(forward):
    """A module with such a forward."""
    module = type("Own", (nn.Module,), {"forward": forward})()
    module.weight = nn.Parameter(np.ones(4))
    return module


def many(self, x):
    y = x * self.weight
    for _ in range(20_001):
        y = np.tanh(y)
    return y


@pytest.mark.parametrize(
    ("model", "criterion", "message"),
    [
        (
            own(lambda self, x: x * self.weight),
            lambda y, t: np.mean(y),
            "expected a criterion that uses the targets, got",
        ),
        (own(lambda self, x: self(x)), lambda y, t: np.mean(y - t), "calls in modules that come to an end, got more"),
        (
            own(many),
            lambda y, t: np.mean(y - t),
            r"\.py:\d+: traced code: expected at most 20,000 operations, got more",
        ),
        (
            own(lambda self, x: x),
            lambda y, t: np.mean(y - t),
            "a loss that depends on parameters, got one that depends on none",
        ),
    ],
    ids=["targets that are not used", "recursion", "too many operations", "no parameters"],
)
def test_wrong_models_and_criteria_are_refused_in_one_sentence(model, criterion, message):
    trainer = Trainer(model, criterion, optim.SGD([model.weight], lr=0.1))
    for run in (
        lambda: trainer.fit(np.ones((6, 4)), np.zeros((6, 4)), epochs=1, batch_size=3),
        lambda: trainer.step(np.ones((6, 4)), np.zeros((6, 4))),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            run()
        assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(model.weight.data, np.ones(4))
