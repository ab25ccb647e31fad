"""A critic with a gradient penalty takes the same steps as in PyTorch."""

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the peers extra)")


class Critic(nn.Module):
    def __init__(self):
        f64 = {"dtype": np.float64}
        self.conv, self.norm = nn.Conv1d(2, 4, 3, padding=1, rng=0, **f64), nn.LayerNorm((4, 8), **f64)
        self.body = nn.Sequential(
            nn.MaxPool1d(2), nn.Flatten(), nn.Linear(16, 8, rng=1, **f64), nn.SiLU(), nn.Linear(8, 1, rng=2, **f64)
        )

    def forward(self, x):
        return self.body(np.tanh(self.norm(self.conv(x))))


class TorchCritic(torch.nn.Module):
    def __init__(self):
        super().__init__()
        f64 = {"dtype": torch.float64}
        self.conv, self.norm = torch.nn.Conv1d(2, 4, 3, padding=1, **f64), torch.nn.LayerNorm((4, 8), **f64)
        self.body = torch.nn.Sequential(
            torch.nn.MaxPool1d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(16, 8, **f64),
            torch.nn.SiLU(),
            torch.nn.Linear(8, 1, **f64),
        )

    def forward(self, x):
        return self.body(torch.tanh(self.norm(self.conv(x))))


def penalized(output, x, model):
    """Wasserstein's critic: outputs are driven apart, and slopes towards norm 1."""
    slope = fastdl.grad(lambda x: np.sum(model(x)))(x)
    norm = np.sqrt(np.sum(np.square(slope), axis=(1, 2)))
    return np.mean(output) + 10 * np.mean(np.square(norm - 1))


def test_a_gradient_penalty():
    x = np.random.default_rng(0).standard_normal((10, 2, 8))
    critic, other = Critic(), TorchCritic()
    other.load_state_dict({name: torch.tensor(array) for name, array in critic.state_dict().items()})
    trainer = Trainer(critic, penalized, optim.SGD(critic.parameters(), lr=0.01))
    history = trainer.fit(x, x, epochs=3, batch_size=4, shuffle=False)
    assert history.engine.startswith("native")
    optimizer = torch.optim.SGD(other.parameters(), lr=0.01)
    for _ in range(3):
        for first in range(0, 10, 4):
            part = torch.from_numpy(x[first : first + 4]).requires_grad_()
            optimizer.zero_grad()
            output = other(part)
            (slope,) = torch.autograd.grad(output.sum(), part, create_graph=True)
            norm = slope.square().sum((1, 2)).sqrt()
            (output.mean() + 10 * (norm - 1).square().mean()).backward()
            optimizer.step()
    for name, array in critic.state_dict().items():
        np.testing.assert_allclose(array, other.state_dict()[name].numpy(), rtol=1e-8, atol=1e-10, err_msg=name)
