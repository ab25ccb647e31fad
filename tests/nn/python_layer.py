"""Layers in Python."""

from fastdl import nn


class Scale(nn.Module):
    """y = 2 x."""

    def forward(self, x):
        self.x = x
        return 2 * x

    def backward(self, grad_output):
        return 2 * grad_output


class Untraced(Scale):
    """One that a trace cannot try on zeros, so that the plain engine runs."""

    def forward(self, x):
        if not x.any():
            raise ValueError("zeros")
        return super().forward(x)
