"""The rows of the comparison; importing them enters them."""

from benchmarks.rows import activations as activations
from benchmarks.rows import fixed_costs as fixed_costs
from benchmarks.rows import images as images
from benchmarks.rows import loops as loops
from benchmarks.rows import networks as networks
from benchmarks.rows import package as package
from benchmarks.rows import policies as policies
from benchmarks.rows import products as products
from benchmarks.rows import slices as slices
from benchmarks.rows import slow_kernels as slow_kernels
from benchmarks.rows import stacks as stacks
from benchmarks.rows import threads as threads
