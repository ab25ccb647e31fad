"""The rows of the comparison, in the order of their numbers."""

from benchmarks.rows import networks, activations, package, loops, products, threads  # noqa: F401, I001  (the order is the table's)
