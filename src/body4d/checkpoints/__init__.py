"""Checkpoints: where they come from, how they are read, what their keys mean."""
