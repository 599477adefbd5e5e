"""Synthetic clips with exact truth: ``clip`` renders them, ``motions`` says who moves how before which camera."""
