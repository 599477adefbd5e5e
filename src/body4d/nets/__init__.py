"""Torch networks: weights in, tensors out, no files."""
