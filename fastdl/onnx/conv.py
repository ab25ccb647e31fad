"""Convolutions, and the edges of windows over images, which pooling shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fastdl import nn
from fastdl.onnx import operation
from fastdl.onnx.table import exports, imports

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader
    from fastdl.onnx.writing import Value, Writer


@exports(nn.Conv1d, nn.Conv2d)
def _(layer: nn.Conv1d | nn.Conv2d, graph: Writer, x: Value) -> str:
    before, behind = layer._sizes().edges()
    return graph.node(
        "Conv",
        x.name,
        graph.weight(layer.weight),
        *([] if layer.bias is None else [graph.weight(layer.bias)]),
        kernel_shape=layer.kernel_size,
        strides=layer.stride,
        pads=(*before, *behind),
        dilations=layer.dilation,
        group=layer.groups,
    )


@imports("Conv", 11, 22)
def _(graph: Reader, node: Node) -> None:
    x, name = node.inputs[:2]
    W = graph.array(name, node, "the weight")
    graph.check_dtype(name, W)
    kernel = W.shape[2:]
    if len(kernel) not in (1, 2) or node.attribute("kernel_shape", kernel) != kernel:
        raise node.refusal(
            "kernels of one or two axes and of the weight's shape", node.attribute("kernel_shape", kernel)
        )
    windows = Windows.of(graph, node, kernel)
    groups = node.attribute("group", 1)
    padding = windows.before
    if windows.before != windows.behind:
        if set(windows.strides) == {1} and windows.same():
            padding = "same"
        else:
            x = graph.add(node, windows.edge(0.0), x, output=node.between("padded"))
            padding = (0,) * len(kernel)
    layer = (nn.Conv1d if len(kernel) == 1 else nn.Conv2d)(
        W.shape[1] * groups,
        W.shape[0],
        kernel,
        windows.strides,
        padding,
        windows.dilations,
        groups,
        bias=False,
        rng=0,
        dtype=W.dtype,
    )
    layer.weight = graph.weight(name, W)
    bias = node.input(2)
    if bias is not None:
        b = graph.array(bias, node, "the bias")
        graph.check_dtype(bias, b)
        if b.shape != W.shape[:1]:
            raise node.refusal(f"a bias of shape {W.shape[:1]}", b.shape)
        layer.bias = graph.weight(bias, b)
    graph.add(node, layer, x, name=graph.layer_name(name, node))


class Windows(NamedTuple):
    """How windows lie on an image, along each axis: their size, steps and gaps, and the places around the image."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]

    @classmethod
    def of(cls, graph: Reader, node: Node, kernel: tuple[int, ...]) -> Windows:
        """The windows of a node of such attributes."""
        ones = (1,) * len(kernel)
        strides, dilations = node.attribute("strides", ones), node.attribute("dilations", ones)
        if len(strides) != len(kernel) or len(dilations) != len(kernel):
            raise node.refusal(f"{len(kernel)} strides and dilations", f"{strides} and {dilations}")
        mode = node.attribute("auto_pad", "NOTSET")
        if mode in ("NOTSET", "VALID"):
            zeros = (0,) * (2 * len(kernel))
            pads = node.attribute("pads", zeros) if mode == "NOTSET" else zeros
            if len(pads) != len(zeros):
                raise node.refusal(f"{len(zeros)} pads", pads)
            return cls(kernel, strides, dilations, pads[: len(kernel)], pads[len(kernel) :])
        if mode not in ("SAME_UPPER", "SAME_LOWER"):
            raise node.refusal("NOTSET, VALID, SAME_UPPER or SAME_LOWER as auto_pad", mode)
        shape = graph.shape(node.inputs[0]) or ()
        sizes = shape[2:] if len(shape) == len(kernel) + 2 else (None,) * len(kernel)
        around = []
        for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
            reach = d * (k - 1) + 1
            if s > 1 and n is None:
                raise node.refusal("images of a size that is known, or stride 1, with auto_pad", "neither")
            around.append(reach - 1 if s == 1 or n is None else max((-(-n // s) - 1) * s + reach - n, 0))
        less, more = tuple(n // 2 for n in around), tuple(n - n // 2 for n in around)
        return cls(kernel, strides, dilations, *((less, more) if mode == "SAME_UPPER" else (more, less)))

    def same(self) -> bool:
        """Whether the places around the image are those of fastdl's padding 'same'."""
        around = [d * (k - 1) for k, d in zip(self.kernel, self.dilations, strict=True)]
        return all((p, q) == (n // 2, n - n // 2) for n, p, q in zip(around, self.before, self.behind, strict=True))

    def counts(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """How many windows there are along the axes of an image of these sizes."""
        axes = zip(sizes, self.kernel, self.strides, self.dilations, self.before, self.behind, strict=True)
        return tuple((n + p + q - d * (k - 1) - 1) // s + 1 for n, k, s, d, p, q in axes)

    def edge(self, value: float) -> operation.Pad:
        """The places around the image as an operation of its own."""
        return operation.Pad(self.before, self.behind, value)
