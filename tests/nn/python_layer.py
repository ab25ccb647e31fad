"""A layer in Python, for which the plain engine runs."""

from fastdl import nn


class Scale(nn.Module):
    """y = 2 x."""

    def forward(self, x):
        self.x = x
        return 2 * x

    def backward(self, grad_output):
        return 2 * grad_output
