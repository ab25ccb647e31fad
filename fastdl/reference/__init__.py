"""The oracle: every kernel once more as naive loops over array elements, with the kernel's own name and arguments."""

from fastdl.reference import activation, batch_norm, conv, dropout, gemm, linear, loss, network, optim, pool, softmax

__all__ = [
    "activation",
    "batch_norm",
    "conv",
    "dropout",
    "gemm",
    "linear",
    "loss",
    "network",
    "optim",
    "pool",
    "softmax",
]
