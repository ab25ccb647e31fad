"""The oracle: every kernel once more as naive loops over array elements, with the kernel's own name and arguments."""

from fastdl.reference import activation, conv, dropout, gemm, linear, loss, network, norm, optim, pool, softmax

__all__ = ["activation", "conv", "dropout", "gemm", "linear", "loss", "network", "norm", "optim", "pool", "softmax"]
