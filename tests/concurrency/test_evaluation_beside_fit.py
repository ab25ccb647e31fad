"""predict and evaluate beside a fit of the same model, and within it, leave the fit as it is, to the bit."""

import signal
import threading

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.callbacks import Callback
from fastdl.metrics import accuracy
from fastdl.training.inference import predict
from tests.combinations import in_turn
from tests.nn.python_layer import Untraced
from tests.nn.traced_layer import Gate

TIMEOUT = 60  # seconds that a thread waits for another, before the test fails
EPOCHS = 5


class Memory(nn.Module):
    """A layer in Python that keeps what backward needs, counts its calls and drops by its mode."""

    def __init__(self):
        self.calls = 0
        self.scale = nn.Parameter(np.full(1, 2, np.float32))

    def forward(self, x):
        self.x, self.calls = x, self.calls + 1
        self.mask = np.float32(x > 0 if self.training else 1)
        return self.scale.data * x * self.mask

    def backward(self, grad_output):
        self.scale.grad += np.sum(grad_output * self.x * self.mask)
        return self.scale.data * grad_output * self.mask


class PythonLoss(nn.Loss):
    """Cross entropy, in Python."""

    def function(self, output, target):
        return -np.log(self.shares(output)[np.arange(len(target)), target])

    def derivative(self, output, target):
        return self.shares(output) - np.eye(output.shape[1], dtype=output.dtype)[target]

    @staticmethod
    def shares(output):
        powers = np.exp(output - output.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def picked(output, target):
    return -np.take_along_axis(nn.functional.log_softmax(output), target[:, None], axis=1)[:, 0]


RNG = np.random.default_rng(0)
X = RNG.standard_normal((240, 1, 6, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 240)
PARTS = {
    "native": (nn.CrossEntropyLoss, ()),
    "native, traced": (nn.CrossEntropyLoss, (lambda: Gate(40),)),
    "native, a function as the loss": (lambda: picked, (lambda: Gate(40),)),
    "a loss in Python": (PythonLoss, ()),
    "native, a layer in Python": (nn.CrossEntropyLoss, (Memory,)),
    "a layer that cannot be traced": (nn.CrossEntropyLoss, (Untraced, Memory)),
}


def learning(parts, metrics=()):
    """A trainer of a model with dropout and batch norms, one of them frozen in evaluation mode."""
    criterion, more = PARTS[parts]
    images = nn.Conv2d(1, 4, 3, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.MaxPool2d(2), nn.Flatten()
    rows = nn.Linear(16, 40, rng=1), nn.BatchNorm1d(40), nn.Dropout(0.5), *(layer() for layer in more)
    model = nn.Sequential(
        *images, nn.Residual(nn.Sequential(nn.Linear(16, 16, rng=3), nn.BatchNorm1d(16).eval())), *rows
    )
    model.append(nn.Linear(40, 3, rng=2))
    return Trainer(model, criterion(), optim.SGD(model.parameters(), lr=0.05, momentum=0.9), metrics=metrics)


def fit(trainer, *callbacks):
    """The fit, and all that it leads to."""
    history = trainer.fit(X, Y, epochs=EPOCHS, batch_size=40, seed=0, callbacks=callbacks)
    modes = [module.training for module in trainer.model.modules()]
    numbers = trainer.rng.bit_generator.state, trainer._position.stream.state_dict()
    calls = [module.calls for module in trainer.model.modules() if isinstance(module, Memory)]
    return history["loss"], modes, numbers, calls, trainer.model.state_dict()


def assert_same(one, other):
    assert one[:-1] == other[:-1]
    for name, array in one[-1].items():
        np.testing.assert_array_equal(other[-1][name], array)


@pytest.fixture(scope="module")
def alone():
    """What the fits lead to with nothing beside them."""
    found = {}
    for parts in PARTS:
        trainer = learning(parts)
        found[parts] = fit(trainer)
        assert trainer.history.engine.startswith("native" if parts.startswith("native") else "plain")
    return found


EVALUATIONS = {
    "predict": lambda trainer: trainer.predict(X[:40]),
    "predict in batches": lambda trainer: predict(trainer.model, X[:40], batch_size=7),
    "evaluate": lambda trainer: trainer.evaluate(X[:40], Y[:40]),
    "predict of a part": lambda trainer: predict(trainer.model[:6], X[:40]),
    "another trainer's": lambda trainer: Trainer(trainer.model, trainer.criterion, trainer.optimizer).predict(X[:5]),
}
# predict's results follow from weights alone: asked for twice between two steps, they are the same.
evaluations = pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
parts = pytest.mark.parametrize("parts", PARTS)


WHEN = ("on_epoch_begin", "on_step_end", "on_epoch_end", "on_checkpoint")


@pytest.mark.parametrize(("parts", "evaluate", "when"), in_turn(PARTS, EVALUATIONS, WHEN, one_in=3))
def test_within_a_fit_in_a_callback(parts, evaluate, when, alone):
    evaluate = EVALUATIONS[evaluate]

    done = []

    def call(self, trainer, *_):
        done.append((np.array_equal(trainer.predict(X[:4]), trainer.predict(X[:4])), evaluate(trainer)))

    evaluating = type("Evaluating", (Callback,), {when: call})()
    assert_same(fit(learning(parts), evaluating), alone[parts])
    assert len(done) >= EPOCHS
    assert all(repeats for repeats, _ in done)


@evaluations
@parts
def test_within_a_fit_in_a_callback_that_watches(parts, evaluate, alone):
    class Evaluating(Callback):
        watches = True

        def on_epoch_end(self, trainer, record):
            evaluate(trainer)

    assert_same(fit(learning(parts), Evaluating()), alone[parts])


@parts
def test_as_validation_and_with_metrics(parts, alone):
    trainer = learning(parts, [accuracy])
    history = trainer.fit(X, Y, epochs=EPOCHS, batch_size=40, seed=0, validation_data=(X[:40], Y[:40]))
    assert history["loss"] == alone[parts][0]
    for name, array in trainer.model.state_dict().items():
        np.testing.assert_array_equal(array, alone[parts][-1][name])
    assert history["val_accuracy"][-1] == trainer.evaluate(X[:40], Y[:40])["accuracy"]


class Asking(Callback):
    """Lets another thread act once an epoch, while the steps of the next go on; the fit's end waits for it."""

    def __init__(self, act):
        self.act, self.asked, self.errors, self.done = act, threading.Semaphore(0), [], 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            for _ in range(EPOCHS):
                if not self.asked.acquire(timeout=TIMEOUT):
                    raise TimeoutError("the fit does not go on")
                self.act()
                self.done += 1
        except BaseException as error:
            self.errors.append(error)

    def on_fit_begin(self, trainer, epochs):
        self.thread.start()

    def on_epoch_begin(self, trainer, epoch):
        self.asked.release()

    def on_fit_end(self, trainer):
        self.thread.join(TIMEOUT)
        if self.errors:
            raise self.errors[0]


@evaluations
@parts
def test_beside_a_fit_in_another_thread(parts, evaluate, alone):
    trainer = learning(parts)
    asking = Asking(lambda: [evaluate(trainer) for _ in range(3)])
    assert_same(fit(trainer, asking), alone[parts])
    assert asking.done == EPOCHS


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="the system sends no signals to threads")
@evaluations
@parts
def test_within_a_fit_in_a_signal_handler(parts, evaluate, alone):
    trainer, main, handled = learning(parts), threading.main_thread().ident, []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(evaluate(trainer)))
    try:
        found = fit(trainer, Asking(lambda: [signal.pthread_kill(main, signal.SIGUSR1) for _ in range(3)]))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled
    assert_same(found, alone[parts])


@parts
def test_evaluations_beside_a_fit_are_those_of_evaluation_mode(parts):
    trainer, found = learning(parts), []

    class Comparing(Callback):
        def on_epoch_end(self, trainer, record):
            twin = learning(next(iter([parts])))
            twin.model.load_state_dict(trainer.model.state_dict())
            twin.model.eval()
            found.append((predict(trainer.model, X[:30]), twin.model(X[:30])))

    fit(trainer, Comparing())
    assert len(found) == EPOCHS
    for one, other in found:
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@parts
def test_a_model_in_evaluation_mode_is_so_again_after_a_fit_with_predictions(parts, alone):
    class Evaluating(Callback):
        def on_epoch_end(self, trainer, record):
            trainer.predict(X[:4])

    trainer = learning(parts)
    trainer.model.eval()
    losses, modes, *_ = fit(trainer, Evaluating())
    assert not any(modes)
    assert len(losses) == len(alone[parts][0])
