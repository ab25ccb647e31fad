"""What callbacks may change in a training that is under way, and the training that they change."""

import copy
import pickle

import numpy as np

from fastdl import nn, optim
from fastdl.callbacks import Callback
from tests.training.engine.twins import Parts

F = np.float64
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((23, 4)), RNG.integers(0, 3, 23)
Y[:3] = 0, 1, 2


def linear(inputs, outputs, seed=0, dtype=F):
    return nn.Linear(inputs, outputs, rng=seed, dtype=dtype)


def network(dtype=F):
    return nn.Sequential(
        linear(4, 6, 1, dtype), nn.ReLU(), nn.Dropout(0.2), nn.BatchNorm1d(6, dtype=dtype), linear(6, 3, 2, dtype)
    )


def parts(dtype=F):
    model = network(dtype)
    return Parts(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.02))


class AtEpoch(Callback):
    def __init__(self, change, watches=False):
        self.change, self.watches = change, watches

    def on_epoch_end(self, trainer, record):
        self.change(trainer)


def set_option(name, value):
    return lambda trainer: trainer.optimizer.param_groups[0].update({name: value})


def replace_layer(number, layer):
    return lambda trainer: trainer.model._layers.update({str(number): copy.deepcopy(layer)})


def load_weights(trainer):
    trainer.model.load_state_dict({name: 0.5 * value for name, value in trainer.model.state_dict().items()})


def load_optimizer(trainer):
    state = trainer.optimizer.state_dict()
    state["state"] = {number: {**entry, "step": entry["step"] + 10} for number, entry in state["state"].items()}
    trainer.optimizer.load_state_dict(state)


def other_optimizer(trainer):
    trainer.optimizer = optim.SGD(trainer.model.parameters(), lr=0.1, momentum=0.5)


def other_parameters(trainer):
    trainer.model[0].weight, trainer.model[0].bias = nn.Parameter(np.full((6, 4), 0.1)), nn.Parameter(np.ones(6))


def move_parameters(trainer):
    optim.SGD(trainer.model.parameters(), lr=0.1)


CHANGES = {
    "dropout": lambda t: setattr(t.model[2], "p", 0.7),
    "no dropout": lambda t: setattr(t.model[2], "p", 0.0),
    "momentum of batch norm": lambda t: setattr(t.model[3], "momentum", 0.9),
    "running mean": lambda t: setattr(t.model[3], "running_mean", np.ones(6)),
    "running mean in place": lambda t: t.model[3].running_mean.fill(1),
    "batch norm evaluates": lambda t: t.model[3].eval(),
    "all evaluates": lambda t: t.model.eval(),
    "another activation": replace_layer(1, nn.Tanh()),
    "another layer": replace_layer(1, nn.Sequential(linear(6, 6, 4), nn.GELU())),
    "other parameters": other_parameters,
    "no bias": lambda t: setattr(t.model[0], "bias", None),
    "one more layer": lambda t: t.model.append(nn.Tanh()),
    "a layer less": lambda t: t.model._layers.pop("1", None),
    "freeze": lambda t: t.model[0].requires_grad_(False),
    "release": lambda t: t.model[0].requires_grad_(len(t.history) != 1),
    "freeze the last": lambda t: t.model[4].requires_grad_(False),
    "weights": load_weights,
    "weights in place": lambda t: t.model[0].weight.data.fill(0.1),
    "draw anew": lambda t: t.model.reset_parameters(rng=len(t.history)),
    "optimizer state": load_optimizer,
    "lr": set_option("lr", 0.3),
    "betas": set_option("betas", (0.1, 0.2)),
    "amsgrad": set_option("amsgrad", True),
    "decay": set_option("weight_decay", 0.3),
    "another optimizer": other_optimizer,
    "parameters move": move_parameters,
    "a schedule": lambda t: setattr(t, "schedule", optim.ExponentialLR(t.optimizer, 0.5)),
    "another loss": lambda t: setattr(t, "criterion", nn.CrossEntropyLoss(label_smoothing=0.5)),
    "label smoothing": lambda t: setattr(t.criterion, "label_smoothing", 0.5),
    "reduction": lambda t: setattr(t.criterion, "reduction", "sum"),
    "class weights": lambda t: setattr(t.criterion, "weight", np.array([1.0, 2.0, 3.0])),
    "ignored class": lambda t: vars(t.criterion).update(ignore_index=2, reduction="sum"),
    "clipping": lambda t: (setattr(t, "clip_norm", 0.1), setattr(t, "clip_value", 0.01)),
    "gradients": lambda t: [setattr(p, "grad", np.ones(p.shape)) for p in t.model.parameters()],
    "zero_grad": lambda t: t.optimizer.zero_grad(),
    "forget_gradients": lambda t: t.optimizer.forget_gradients(),
    "predict": lambda t: t.predict(X),
    "model called": lambda t: t.model.backward(np.ones_like(t.model.train()(X))),
    "copies": lambda t: (copy.deepcopy(t), pickle.dumps(t)),
}
