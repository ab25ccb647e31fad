"""Convolutions of any geometry by loops and by NumPy's windows, and the kernels held against them."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fastdl._kernels import conv
from fastdl.reference import conv as naive


class Geometry(NamedTuple):
    """Sizes and options of a convolution; `behind` is the padding below and to the right."""

    N: int
    C: int
    O: int
    image: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    behind: tuple[int, int] | None = None

    @property
    def extent(self):
        return [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]

    @property
    def out(self):
        behind = self.padding if self.behind is None else self.behind
        sizes = zip(self.image, self.padding, behind, self.extent, self.stride, strict=True)
        return tuple((size + before + after - extent) // stride + 1 for size, before, after, extent, stride in sizes)

    @property
    def options(self):
        return self.stride, self.padding, self.dilation, self.groups

    def arrays(self):
        """x, W, b, gy and what gradients are added to, of values that float32 holds."""
        rng = np.random.default_rng(list(str(self).encode()))
        weight = self.O, self.C // self.groups, *self.kernel
        shapes = (self.N, self.C, *self.image), weight, self.O, (self.N, self.O, *self.out), weight, self.O
        return [rng.standard_normal(shape).astype(np.float32).astype(float) for shape in shapes]


@cache
def by_loops(g):
    """y without b, gx, gW and gb."""
    x, W, _, gy, gW, gb = (np.ascontiguousarray(array) for array in g.arrays())
    y, gx = np.zeros_like(gy), np.zeros_like(x)
    naive.conv_forward(x, W, None, *g.options, y)
    naive.conv_backward(gy, x, W, *g.options, False, gx, gW, gb)
    return y, gx, gW, gb


@cache
def by_windows(g):
    """y without b, gx, gW and gb."""
    x, W, _, gy, *_ = g.arrays()
    (top, left), (OH, OW), (SH, SW), (DH, DW), G = g.padding, g.out, g.stride, g.dilation, g.groups
    last = [(n - 1) * s + e for n, s, e in zip(g.out, g.stride, g.extent, strict=True)]
    padded = np.zeros((g.N, g.C, *(max(n, p + i) for n, p, i in zip(last, g.padding, g.image, strict=True))))
    inside = np.s_[:, :, top : top + g.image[0], left : left + g.image[1]]
    padded[inside] = x
    windows = sliding_window_view(padded, g.extent, axis=(2, 3))[:, :, ::SH, ::SW, ::DH, ::DW][:, :, :OH, :OW]
    windows = windows.reshape(g.N, G, g.C // G, OH, OW, *g.kernel)
    filters, gy = W.reshape(G, g.O // G, *W.shape[1:]), gy.reshape(g.N, G, g.O // G, OH, OW)
    y = np.einsum("ngchwij,gocij->ngohw", windows, filters, optimize=True).reshape(g.N, g.O, OH, OW)
    gW = np.einsum("ngohw,ngchwij->gocij", gy, windows, optimize=True).reshape(W.shape)
    seen = np.einsum("ngohw,gocij->ngchwij", gy, filters, optimize=True).reshape(g.N, g.C, OH, OW, *g.kernel)
    padded[...] = 0
    for i, j in np.ndindex(g.kernel):
        rows, columns = (slice(k * d, k * d + (n - 1) * s + 1, s) for k, d, n, s in ((i, DH, OH, SH), (j, DW, OW, SW)))
        padded[:, :, rows, columns] += seen[..., i, j]
    return y, padded[inside], gW, gy.sum(axis=(0, 3, 4)).ravel()


def among(value, array, dtype):
    """A copy in the midst of memory that holds this value, and that memory."""
    memory = np.full(array.size + 122, value, dtype)
    inner = memory[61 : 61 + array.size].reshape(array.shape)
    inner[...] = array
    return inner, memory


def assert_near(got, want, tolerance, dtype, what=""):
    """Inputs are of size 1, so that a sum of products that cancel is as good as its terms."""
    bound = tolerance * float(np.finfo(dtype).eps) * np.abs(want).max(initial=1)
    np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=what)


def agree(g, want, dtype, tolerance):
    """Run the three kernels in every way; inputs lie among NaN, outputs hold NaN among a mark that must stay."""
    want_y, want_gx, want_gW, want_gb = want
    x, W, b, gy, gW, gb = g.arrays()
    near_x, near_W, near_b, near_gy = (among(np.nan, array, dtype)[0] for array in (x, W, b, gy))

    def run(kernel, inputs, *outputs):
        places = [None if start is None else among(7, start, dtype) for start, _ in outputs]
        kernel(*inputs, *(None if place is None else place[0] for place in places))
        for place, (_, wanted) in zip(places, outputs, strict=True):
            if place is not None:
                assert_near(place[0], wanted, tolerance, dtype, f"{kernel.__name__} {g}")
                assert (place[1][:61] == 7).all()
                assert (place[1][-61:] == 7).all()

    nothing, unset = (None, None), np.full_like
    y = unset(want_y, np.nan)
    run(conv.conv_forward, (near_x, near_W, near_b, *g.options), (y, want_y + b[:, None, None]))
    run(conv.conv_forward, (near_x, near_W, None, *g.options), (y, want_y))
    given = near_gy, near_x, near_W, *g.options
    gx = unset(x, np.nan), want_gx
    stored = (unset(gW, np.nan), want_gW), (unset(gb, np.nan), want_gb)
    added = (gW, gW + want_gW), (gb, gb + want_gb)
    run(conv.conv_backward, (*given, False), gx, *stored)
    run(conv.conv_backward, (*given, True), nothing, *added)
    run(conv.conv_backward, (*given, False), gx, stored[0], nothing)
    run(conv.conv_backward, (*given, True), gx, nothing, added[1])
    run(conv.conv_backward, (*given, True), gx, nothing, nothing)
