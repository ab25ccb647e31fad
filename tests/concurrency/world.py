"""What a round of the fuzz script is about: a model, data, a loss, an optimizer and a trainer, all drawn from one seed."""

import random

import numpy as np

from fastdl import Trainer, nn, optim
from fastdl.data.nested import leaves, mapped
from fastdl.metrics import accuracy
from fastdl.random import Stream

ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.ELU, nn.SiLU, nn.Softplus, nn.LeakyReLU, nn.Identity)


class Own(nn.Module):
    """A module in Python, with a parameter, a buffer and a count; `act` is called amid its forward where it is set."""

    act = None

    def __init__(self, dtype):
        self.factor = nn.Parameter(np.full(1, 0.9, dtype))
        self.register_buffer("seen", np.zeros(1, dtype))
        self.calls = 0

    def forward(self, x):
        """Multiply by the factor."""
        self.calls += 1
        if self.training:
            self.seen += 1
        if Own.act is not None:
            Own.act()
        self.x = x
        return self.factor.data * x

    def backward(self, grad_output):
        """See forward."""
        self.factor.grad += np.sum(grad_output * self.x, dtype=self.factor.dtype)
        return self.factor.data * grad_output


class Traced(nn.Module):
    """Forward alone: a gate and a skip connection around layers, with parameters in two places; one output, or two."""

    def __init__(self, body, head, size, two, dtype):
        self.body, self.head, self.two = body, head, two
        self.gate = nn.Parameter(np.full(size, 0.9, dtype))

    def forward(self, x):
        """See the class; what acts amid a forward acts while it is traced."""
        h = self.body(x)
        h = h + np.tanh(h * self.gate) / (1 + np.exp(-self.gate * h))
        if Own.act is not None:
            Own.act()
        return (self.head(h), self.head(h * 0.5)) if self.two else self.head(h)


def squares(output, target):
    """A loss of one output, as a function."""
    return np.mean((output - target) ** 2)


def of_both(output, target):
    """A loss of two outputs and two targets, as a function: one for each sample."""
    logp = nn.functional.log_softmax(output[1])
    picked = np.take_along_axis(logp, target["label"][:, None], axis=1)[:, 0]
    return np.mean((output[0] - target["value"]) ** 2, axis=1) - 0.1 * picked


class InAFunction:
    """One of fastdl's losses, computed by a function of one's own."""

    def __init__(self, loss):
        self.loss = loss

    def __call__(self, output, target):
        """Call it."""
        return self.loss(output, target)


class OwnOptimizer(optim.Optimizer):
    """Plain gradient descent in Python."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    def update(self, data, grad, state, group, step):
        """Go down the gradient."""
        data -= (group["lr"] * grad).astype(data.dtype)


class World:
    """A round's objects; two of one seed are alike in every bit."""

    def __init__(self, seed, folder):
        self.draws = draws = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.seed, self.folder = seed, folder
        self.dtype = draws.choice([np.float32, np.float64])
        # "native": one program; "python": layer by layer, since a part is written in Python; "traced": a forward alone.
        self.engine = draws.choice(["native", "python", "traced", "traced"])
        self.images = draws.random() < 0.4
        self.threads = draws.choice([1, 2, 2, 3, 8])
        self.width = draws.choice([3, 8, 17, 64, 256])
        self.classes = draws.choice([1, 2, 5, 10])
        self.rows = draws.choice([7, 40, 200, 1000]) if self.width < 64 else draws.choice([20, 64, 300])
        self.batch_size = draws.choice([1, 4, 16, 64, self.rows, 2 * self.rows])
        if self.rows / self.batch_size > 100:
            self.batch_size = 16
        self.epochs = draws.choice([1, 2, 5, 20])
        # How steps by hand are taken.
        self.way = draws.choice(["backward", "vjp", "step"])
        self.two = self.engine == "traced" and draws.random() < 0.5
        body, size = self._images() if self.images else self._vectors()
        self.layers = self.model = nn.Sequential(*body, self._linear(size, self.classes))
        if self.engine == "python" and draws.random() < 0.7:
            self.model.append(Own(self.dtype))
        if self.engine == "traced":
            own = [Own(self.dtype)] if draws.random() < 0.3 else []
            head, self.layers = self.model[-1], nn.Sequential(*body, *own, nn.Identity())
            self.model = Traced(self.layers, head, size, self.two, self.dtype)
            if not self.two and draws.random() < 0.3:
                self.layers = self.model = nn.Sequential(self.model, nn.Softplus())
        self.criterion = self._criterion()
        if isinstance(self.criterion, nn.Loss) and self.engine != "python" and draws.random() < 0.3:
            self.criterion = InAFunction(self.criterion)
        self.optimizer = self._optimizer()
        self.trainer = Trainer(self.model, self.criterion, self.optimizer, **self._options())
        # Another model and its trainer, for what has nothing to do with the round's own; without dropout, which draws.
        self.other = nn.Sequential(nn.Conv2d(2, 16, 3, rng=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 5, rng=2))
        self.other_x = self.rng.standard_normal((6, 2, 8, 8)).astype(np.float32)
        self.stream = Stream(np.random.default_rng(seed))

    def _linear(self, inputs, outputs):
        return nn.Linear(
            inputs, outputs, bias=self.draws.random() < 0.8, rng=self.draws.randrange(99), dtype=self.dtype
        )

    def _between(self, size, images):
        """Layers that keep the shape."""
        draws, norm = self.draws, nn.BatchNorm2d if images else nn.BatchNorm1d
        made = []
        for _ in range(draws.randrange(4)):
            kind = draws.randrange(8)
            if kind == 0:
                made.append(norm(size, dtype=self.dtype))
            elif kind == 1:
                made.append(nn.Dropout(draws.choice([0.1, 0.5])))
            elif kind == 2 and not images:
                made.append(nn.LayerNorm(size, dtype=self.dtype))
            elif kind == 3 and images:
                made.append(nn.Dropout2d(0.2))
            elif kind == 4 and not images:
                made.append(nn.Residual(nn.Sequential(self._linear(size, size), draws.choice(ACTIVATIONS)())))
            elif kind == 5 and not images:
                made.append(nn.Softmax())
            else:
                made.append(draws.choice(ACTIVATIONS)())
        if self.engine == "python" and draws.random() < 0.3:
            made.append(Own(self.dtype))
        return [nn.Sequential(*made)] if made and draws.random() < 0.4 else made

    def _vectors(self):
        draws, size = self.draws, self.draws.choice([2, 9, 30])
        self.shape = (size,)
        layers = []
        for _ in range(draws.randrange(3)):
            layers += [self._linear(size, self.width), *self._between(self.width, False)]
            size = self.width
        return layers, size

    def _images(self):
        draws, channels, side = self.draws, self.draws.choice([1, 3]), self.draws.choice([6, 9, 12])
        self.rows, self.batch_size = min(self.rows, 60), min(self.batch_size, 32)
        self.shape = (channels, side, side)
        layers = []
        for _ in range(draws.randint(1, 2)):
            outputs = draws.choice([2, 5, 16, 32])
            options = {
                "padding": 1,
                "stride": draws.choice([1, 1, 2]),
                "groups": channels if draws.random() < 0.2 else 1,
            }
            outputs *= options["groups"]
            layers.append(nn.Conv2d(channels, outputs, 3, rng=draws.randrange(99), dtype=self.dtype, **options))
            channels, side = outputs, -(-side // options["stride"])
            layers += self._between(channels, True)
            if side >= 4:
                layers.append(draws.choice([nn.MaxPool2d, nn.AvgPool2d])(2))
                side //= 2
        return [*layers, nn.Flatten()], channels * side * side

    def _criterion(self):
        rng, shape = self.rng, (self.rows, self.classes)
        self.x = rng.standard_normal((self.rows, *self.shape)).astype(self.dtype)
        if self.two:
            self.y = {
                "value": rng.standard_normal(shape).astype(self.dtype),
                "label": rng.integers(0, self.classes, self.rows),
            }
            return of_both
        kind = self.draws.randrange(5)
        if kind < 2 and self.classes > 1:
            self.y = rng.integers(0, self.classes, self.rows)
            self.y[: self.classes] = np.arange(self.classes)[: self.rows]
            weight = rng.uniform(0.5, 2, self.classes).astype(self.dtype) if self.draws.random() < 0.3 else None
            return nn.CrossEntropyLoss(weight, label_smoothing=self.draws.choice([0.0, 0.1]))
        if kind == 2:
            self.y = rng.integers(0, 2, shape).astype(self.dtype)
            return nn.BCEWithLogitsLoss()
        self.y = rng.standard_normal(shape).astype(self.dtype)
        if self.engine == "traced" and self.draws.random() < 0.5:
            return squares
        return self.draws.choice([nn.MSELoss, nn.HuberLoss, nn.L1Loss])(reduction=self.draws.choice(["mean", "sum"]))

    def _optimizer(self):
        draws, parameters = self.draws, list(self.model.parameters())
        if draws.random() < 0.3 and len(parameters) > 1:
            parameters = [{"params": parameters[:1], "lr": 0.001}, {"params": parameters[1:]}]
        if self.engine == "python" and draws.random() < 0.5:
            return OwnOptimizer(parameters, lr=0.001)
        kind = draws.choice([optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
        options = {"momentum": draws.choice([0.0, 0.9])} if kind is optim.SGD else {}
        return kind(parameters, lr=0.001, **options)

    def _options(self):
        draws = self.draws
        options = {"clip_norm": 1.0} if draws.random() < 0.2 else {}
        if draws.random() < 0.2 and isinstance(self.criterion, nn.CrossEntropyLoss):
            options["metrics"] = [accuracy]
        return options

    def fit(self, callbacks=()):
        """Fit as the seed says."""
        draws = random.Random(self.seed)
        options = {"validation_data": self.part(slice(9))} if draws.random() < 0.2 else {}
        return self.trainer.fit(
            self.x,
            self.y,
            epochs=self.epochs,
            batch_size=self.batch_size,
            shuffle=draws.random() < 0.7,
            accumulate=draws.choice([1, 1, 1, 3]),
            seed=self.seed,
            callbacks=callbacks,
            progress=False,
            **options,
        )

    def train_by_hand(self):
        """Some steps without a trainer."""
        from fastdl.random import drawing_from

        with drawing_from(self.stream):
            for first in range(0, min(self.rows, 20 * self.batch_size), self.batch_size):
                x, y = self.part(slice(first, first + self.batch_size))
                if self.way == "step":
                    found = self.trainer.step(x, y)
                    continue
                self.optimizer.zero_grad()
                output, back = (
                    self.model.vjp(x) if self.way == "vjp" else (self.model(x), self.model.backward_parameters)
                )
                back(self.gradient(output, y))
                self.optimizer.step()
                found = in_bytes(output)
        return found

    def part(self, rows):
        """Some rows of inputs and targets."""
        return self.x[rows], mapped(self.y, lambda array: array[rows])

    def targets(self):
        """The arrays of targets."""
        return [array for _, array in leaves(self.y)]

    def gradient(self, output, y):
        """The loss' gradient with respect to the model's output; ones where the loss is a function."""
        if not isinstance(self.criterion, nn.Loss):
            return mapped(output, np.ones_like)
        self.criterion(output, y)
        return self.criterion.backward()

    def modes(self):
        """The mode of each module."""
        return [module.training for module in self.model.modules()]

    def bits(self):
        """The weights and buffers as bytes."""
        return {name: array.tobytes() for name, array in self.model.state_dict().items()}


def in_bytes(output):
    """The bytes of one output or several."""
    return [array.tobytes() for _, array in leaves(output)]
