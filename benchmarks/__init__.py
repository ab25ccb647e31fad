"""How fast fastdl is: against other libraries (`python -m benchmarks.peers`), each row in one short function."""
