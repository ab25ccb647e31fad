"""How fast fastdl is: against other libraries (`python -m benchmarks.peers`), and by itself (`pytest --benchmark-only`)."""
