"""Diffusion-VAS (Chen et al. 2024): a person's amodal mask from the visible part, and an image of the whole person from both."""
