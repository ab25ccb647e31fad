"""One graph of a computation written in NumPy: traced, differentiated, and run node by node."""
