"""body4d."""
