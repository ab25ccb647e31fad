"""A traced model and loss in training beside the same in PyTorch: two outputs, a dictionary of targets, a short last batch."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from tests.training.engine.test_traced_models import ROWS, episodes, ppo

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the peers extra)")


class Net(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(nn.Linear(4, 16, bias=False, rng=1), nn.BatchNorm1d(16), nn.Tanh())
        self.policy, self.value = nn.Linear(16, 2, rng=2), nn.Linear(16, 1, rng=3)
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x):
        h = self.body(x)
        return self.policy(h) * self.scale, self.value(h)[:, 0]


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 16, bias=False), torch.nn.BatchNorm1d(16), torch.nn.Tanh())
        self.policy, self.value = torch.nn.Linear(16, 2), torch.nn.Linear(16, 1)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        h = self.body(x)
        return self.policy(h) * self.scale, self.value(h)[:, 0]


def torch_ppo(output, batch):
    logits, value = output
    logp = torch.log_softmax(logits, 1)
    ratio = torch.exp(logp.gather(1, batch["action"][:, None])[:, 0] - batch["logp"])
    gain = torch.minimum(ratio * batch["advantage"], ratio.clamp(0.8, 1.2) * batch["advantage"])
    entropy = torch.mean(torch.sum(torch.exp(logp) * logp, 1))
    return torch.mean(-gain + 0.5 * (value - batch["return"]) ** 2) + 0.01 * entropy


def test_a_policy_learns_what_it_does_in_torch():
    x, y = episodes(np.float32)
    net, other = Net(), TorchNet()
    other.load_state_dict({name: torch.tensor(array) for name, array in net.state_dict().items()})
    trainer = Trainer(net, ppo, optim.Adam(net.parameters(), lr=0.01), clip_norm=0.5)
    history = trainer.fit(x, y, epochs=3, batch_size=32, shuffle=False)
    assert history.engine.startswith("native")
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    inputs, targets = torch.from_numpy(x), {name: torch.from_numpy(array) for name, array in y.items()}
    losses = []
    for _ in range(3):
        total = 0.0
        for first in range(0, ROWS, 32):
            part = slice(first, min(first + 32, ROWS))
            optimizer.zero_grad()
            loss = torch_ppo(other(inputs[part]), {name: array[part] for name, array in targets.items()})
            loss.backward()
            torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5)
            optimizer.step()
            total += loss.item() * (part.stop - part.start)
        losses.append(total / ROWS)
    np.testing.assert_allclose(history["loss"], losses, rtol=2e-4)
    for name, array in other.state_dict().items():
        np.testing.assert_allclose(net.state_dict()[name], array.numpy(), rtol=5e-3, atol=5e-4, err_msg=name)
