"""Runs against exact truth: metrics, scores, and the synthetic clips that have such a truth. Definitions: docs/evaluation.md."""
