"""The rows of the comparison; importing them enters them, in the order of their numbers."""

from benchmarks.rows import networks as networks  # isort: split
from benchmarks.rows import activations as activations  # isort: split
from benchmarks.rows import package as package  # isort: split
from benchmarks.rows import loops as loops  # isort: split
from benchmarks.rows import products as products  # isort: split
from benchmarks.rows import threads as threads
