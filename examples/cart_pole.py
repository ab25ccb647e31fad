"""Proximal policy optimization on a cart-pole: the environment, the policy and the loss in NumPy, trained natively.

A pole stands on a cart that is pushed to the left or right, 50 times a second; each step that it stands earns 1, up to 500.
The policy is trained as in J. Schulman et al., "Proximal Policy Optimization Algorithms", 2017; the equations of motion are
those of A. Barto, R. Sutton, C. Anderson, "Neuronlike Adaptive Elements That Can Solve Difficult Learning Control Problems",
1983.
"""

import argparse
import time

import numpy as np

import fastdl
from fastdl import Trainer, nn, optim

STEPS, ENVIRONMENTS, DISCOUNT, SMOOTHING = 128, 16, 0.99, 0.95
LONGEST = 500


class CartPoles:
    """So many cart-poles, each begun anew when its pole has fallen or it has stood for 500 steps."""

    def __init__(self, count, rng):
        self.rng, self.state = rng, rng.uniform(-0.05, 0.05, (count, 4))
        self.age = np.zeros(count, int)

    def step(self, action):
        """Push each; return whether it has fallen and whether its time is up, and the state before a new beginning."""
        _, v, angle, turn = self.state.T
        force, sin, cos = np.where(action == 1, 10.0, -10.0), np.sin(angle), np.cos(angle)
        push = (force + 0.05 * turn**2 * sin) / 1.1
        bend = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        drive = push - 0.05 * bend * cos / 1.1
        self.state = self.state + 0.02 * np.stack([v, drive, turn, bend], axis=1)
        self.age += 1
        fallen = (np.abs(self.state[:, 0]) > 2.4) | (np.abs(self.state[:, 2]) > 12 * np.pi / 180)
        over = (self.age >= LONGEST) & ~fallen
        last, ended = self.state, fallen | over
        self.state = np.where(ended[:, None], self.rng.uniform(-0.05, 0.05, last.shape), last)
        self.age[ended] = 0
        return fallen, over, last


class Policy(nn.Module):
    """Scores of both actions, and the value of the state."""

    def __init__(self, rng):
        self.actor = nn.Sequential(nn.Linear(4, 64, rng=rng), nn.Tanh(), nn.Linear(64, 2, rng=rng))
        self.critic = nn.Sequential(nn.Linear(4, 64, rng=rng), nn.Tanh(), nn.Linear(64, 1, rng=rng))

    def forward(self, x):
        return self.actor(x), self.critic(x)[:, 0]


def loss(output, batch):
    """The clipped gain of the policy, the value's error, and a reward for entropy."""
    scores, value = output
    logp = nn.functional.log_softmax(scores)
    ratio = np.exp(np.take_along_axis(logp, batch["action"][:, None], axis=1)[:, 0] - batch["logp"])
    gain = np.minimum(ratio * batch["advantage"], np.clip(ratio, 0.8, 1.2) * batch["advantage"])
    return 0.5 * (value - batch["return"]) ** 2 - gain + 0.005 * np.sum(np.exp(logp) * logp, axis=1)


def probabilities(scores):
    """Of pushing to the right, and the logarithms of both."""
    logp = nn.functional.log_softmax(scores)
    return np.exp(logp[:, 1]), logp


def collect(policy, poles):
    """What some steps of all cart-poles have shown, as the loss reads it."""
    shape = STEPS, ENVIRONMENTS
    seen, action, logp = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    value, reward, ended = np.zeros((STEPS + 1, ENVIRONMENTS)), np.ones(shape), np.zeros(shape, bool)
    for t in range(STEPS):
        seen[t] = poles.state
        scores, value[t] = policy(seen[t])
        right, both = probabilities(scores)
        action[t] = poles.rng.random(ENVIRONMENTS) < right
        logp[t] = both[np.arange(ENVIRONMENTS), action[t]]
        fallen, over, last = poles.step(action[t])
        ended[t] = fallen | over
        if over.any():  # time that is up is not the pole's fault: what would follow counts
            reward[t] += DISCOUNT * over * policy(last.astype(np.float32))[1]
    value[STEPS] = policy(poles.state.astype(np.float32))[1]
    advantage, following = np.zeros(shape), np.zeros(ENVIRONMENTS)
    for t in reversed(range(STEPS)):
        stands = ~ended[t]
        delta = reward[t] + DISCOUNT * value[t + 1] * stands - value[t]
        following = advantage[t] = delta + DISCOUNT * SMOOTHING * stands * following
    returned = advantage + value[:STEPS]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    targets = {"action": action, "logp": logp, "advantage": advantage, "return": returned / 100}
    return seen.reshape(-1, 4), {name: array.reshape(-1) for name, array in targets.items()}


def mean_return(policy, rng, episodes=100):
    """How long poles stand, on average, where the better action is taken."""
    poles, stood, done = CartPoles(episodes, rng), np.zeros(episodes), np.zeros(episodes, bool)
    while not done.all():
        fallen, over, _ = poles.step(np.argmax(policy(poles.state.astype(np.float32))[0], axis=1))
        stood += ~done
        done |= fallen | over
    return stood.mean()


class Scaled(nn.Module):
    """The policy whose values are in steps; it learns them in hundreds."""

    def __init__(self, policy):
        self.policy = policy

    def forward(self, x):
        scores, value = self.policy(x)
        return scores, 100 * value


def train(seed, seconds=5.0):
    """Train until the poles stand; return the mean return over 100 episodes and the seconds of processor time."""
    rng, start = np.random.default_rng(seed), time.process_time()
    policy, poles = Policy(rng), CartPoles(ENVIRONMENTS, rng)
    acting = Scaled(policy).eval()
    trainer = Trainer(policy, loss, optim.Adam(policy.parameters(), lr=0.003), clip_norm=0.5)
    with nn.no_grad():
        while time.process_time() - start < seconds:
            x, targets = collect(acting, poles)
            trainer.fit(x, targets, epochs=6, batch_size=256, seed=rng, progress=False)
            if mean_return(acting, rng, 20) >= 495 and (reached := mean_return(acting, rng)) >= 475:
                break
        else:
            reached = mean_return(acting, rng)
    return reached, time.process_time() - start


def main(seeds=5):
    found = []
    for seed in range(seeds):
        found.append(train(seed))
        print("seed {}: mean return {:.0f} after {:.1f} s".format(seed, *found[-1]))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    fastdl.set_num_threads(1)
    main(**vars(parser.parse_args()))
