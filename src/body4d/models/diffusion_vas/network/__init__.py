"""Diffusion-VAS (Chen et al. 2024): a person's whole outline from the part that is seen, and the whole person's look from both."""
