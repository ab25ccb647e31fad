"""onnxruntime's side: prediction. The model is written as ONNX by hand, so that no exporter is needed."""

from __future__ import annotations

import onnxruntime
from numpy.typing import NDArray

from benchmarks.network import Network
from benchmarks.row import Timed, repeated

VERSION = f"onnxruntime {onnxruntime.__version__}"

FLOAT, INT = 1, 2  # TensorProto.FLOAT, AttributeProto.INT


def predict(network: Network, threads: int) -> Timed:
    """The prediction of one sample."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model(network), options, providers=["CPUExecutionProvider"])
    inputs = {"x": network.data()[0][:1]}
    return repeated(lambda: session.run(None, inputs))


def model(network: Network) -> bytes:
    """A ModelProto of Gemm and Relu nodes."""
    nodes, initializers, last = [], [], len(network.sizes) - 2
    for i, (W, b) in enumerate(network.parameters()):
        initializers += [(5, tensor(f"W{i}", W)), (5, tensor(f"b{i}", b))]
        transposed = message((1, "transB"), (3, 1), (20, INT))
        y = "y" if i == last else f"h{i}"
        names = [(1, f"a{i - 1}" if i else "x"), (1, f"W{i}"), (1, f"b{i}"), (2, y)]
        nodes.append((1, message(*names, (4, "Gemm"), (5, transposed))))
        if i < last:
            nodes.append((1, message((1, y), (2, f"a{i}"), (4, "Relu"))))
    ends = (11, value("x", network.sizes[0])), (12, value("y", network.sizes[-1]))
    graph = message(*nodes, (2, "network"), *initializers, *ends)
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 13))))


def tensor(name: str, array: NDArray) -> bytes:
    """A TensorProto."""
    return message(*((1, size) for size in array.shape), (2, FLOAT), (8, name), (9, array.tobytes()))


def value(name: str, size: int) -> bytes:
    """A ValueInfoProto of one row."""
    shape = message((1, message((1, 1))), (1, message((1, size))))
    return message((1, name), (2, message((1, message((1, FLOAT), (2, shape))))))


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protocol buffer of these fields: number and value."""
    written = b""
    for number, content in fields:
        if isinstance(content, int):
            written += varint(number << 3) + varint(content)
        else:
            content = content.encode() if isinstance(content, str) else content
            written += varint(number << 3 | 2) + varint(len(content)) + content
    return written


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])
