"""A layer that defines forward alone, for which programs are traced."""

import numpy as np

from fastdl import nn


class Gate(nn.Module):
    """y = x + tanh(x W^T + b) sigmoid(-x W^T - b), with rows of x normalized first; the layer stands in two places."""

    def __init__(self, size=4):
        self.norm, self.linear = nn.BatchNorm1d(size), nn.Linear(size, size, rng=7)

    def forward(self, x):
        h = self.norm(x)
        return x + np.tanh(self.linear(h)) / (1 + np.exp(self.linear(h)))
