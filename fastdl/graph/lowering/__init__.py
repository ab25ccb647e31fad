"""Lowering: a graph as the records of a native program."""

from fastdl.graph.lowering.program import Lowered as Lowered
from fastdl.graph.lowering.program import Lowering as Lowering
from fastdl.graph.lowering.program import Origins as Origins
