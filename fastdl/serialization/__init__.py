"""Serialization: models in files, weights that PyTorch wrote, and plain values as JSON."""
