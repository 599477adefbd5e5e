"""Rotations and camera geometry: pure functions on numpy arrays."""
