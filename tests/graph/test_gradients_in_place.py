"""Which gradients layers write where a parameter has it: those that nothing else reads, alone or added up."""

from types import SimpleNamespace

import pytest

from fastdl.graph.lowering.program import _direct

NODES = [
    ("layer", (), (3,)),
    ("layer_backward", (0,), (3,)),
    ("layer_gradient", (1,), (3,)),
    ("layer_gradient", (1,), (3,)),
    ("add", (2, 3), (3,)),
    ("add", (2, 2), (3,)),
    ("square", (3,), (3,)),
    ("add", (2, 6), (3,)),
]
GRAPH = SimpleNamespace(
    nodes=[SimpleNamespace(operation=operation, inputs=inputs, shape=shape) for operation, inputs, shape in NODES]
)


@pytest.mark.parametrize(
    ("gradient", "readers", "direct", "sums"),
    [
        (2, {}, {2}, set()),
        (4, {2: [4], 3: [4]}, {2, 3}, {4}),
        (4, {2: [4], 3: [4], 4: [6]}, set(), set()),
        (4, {2: [4], 3: [4, 6]}, set(), set()),
        (5, {2: [5, 5]}, set(), set()),
        (7, {2: [7], 3: [6], 6: [7]}, set(), set()),
    ],
    ids=["one", "two", "a sum that is read", "a part that is read", "one twice", "what no layer writes"],
)
def test_gradients_in_place(gradient, readers, direct, sums):
    parameter = object()
    found = _direct(GRAPH, [(parameter, gradient)], readers)
    assert found == (dict.fromkeys(direct, parameter), sums)


def test_one_gradient_of_two_parameters_is_in_neithers_place():
    assert _direct(GRAPH, [(object(), 2), (object(), 2)], {}) == ({}, set())
