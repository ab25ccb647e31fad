"""NumPy's functions and an array's methods on traced values, made of the graph's operations."""

from fastdl.graph.functions import instead as instead
from fastdl.graph.functions import methods as methods  # which imports the others
