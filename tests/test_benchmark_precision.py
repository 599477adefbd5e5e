"""benchmarks/precision.py at a tiny size: a network's numbers in bfloat16 beside those in float32. The camera's is the quickest."""

import importlib
import sys
from pathlib import Path

import pytest
import torch


def test_a_lower_precision_is_near_and_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.setattr(sys, "path", list(sys.path))  # the benchmark adds to it
    precision = importlib.import_module("precision")
    rows = precision.compared(precision.NETWORKS["camera"], torch.device("cpu"), True)
    assert [(row["network"], row["precision"], row["result"]) for row in rows] == [
        ("MoGe-2", "bfloat16", "points"),
        ("MoGe-2", "bfloat16", "mask's probability"),
    ]
    # bfloat16 has 8 bits, so one rounding is at most 0.4 % off; some ten follow one another here. The tiny network damps most of it.
    assert all(0 < row["relative"] < 0.05 for row in rows), rows
