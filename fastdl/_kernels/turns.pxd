# A layer's kernels in turns; see turns.pyx.

# Whether a backward adds to the gradients of these parameters; no Python code runs.
cdef bint accumulates(tuple parameters) except -1
