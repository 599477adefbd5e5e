"""How long a run takes: fixed seconds and seconds a frame, from what was measured beforehand and from this server's own runs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

MAX_MEASURED = 12
"""Newest runs from which is learnt: a machine's load changes over a day."""

NOISE = 0.25
"""Standard deviation of a run's time as a share of it: clips with more people, or a busy machine."""

PRIOR_SPREAD = 1.0
"""How far this machine's figures may lie from those measured beforehand, standard deviation as a share of them: other processors."""


@dataclass(frozen=True)
class RunTime:
    """A run of ``frames`` frames takes ``fixed_s + per_frame_s * frames``. The fixed part is loading of models and packing of files."""

    fixed_s: float
    per_frame_s: float

    def seconds(self, frames: int) -> float:
        """Seconds for a run; 0 for a task of no frames, which is none."""
        return self.fixed_s + self.per_frame_s * frames if frames else 0.0


MEASURED_RUN_TIMES: Mapping[str, RunTime] = {"lite": RunTime(20.0, 0.25), "sam": RunTime(60.0, 1.0)}
"""What each preset is said to take before a run was measured here. lite: docs/verified.md. sam: not measured in the app, cautious."""


def learnt(prior: RunTime, measured: Sequence[tuple[int, float]]) -> RunTime:
    """The model once runs were measured: (frames, seconds) each, oldest first. Least squares, in which the prior counts as measurements of
    both its parts, each known to ``PRIOR_SPREAD``, and a run's time is known to ``NOISE`` of what the prior expects or of itself, whichever
    is more. Neither part is ever below zero.
    """
    runs = measured[-MAX_MEASURED:]
    if not runs:
        return prior
    frames, seconds = (np.array(column, float) for column in zip(*runs, strict=True))
    expected = prior.fixed_s + prior.per_frame_s * frames
    # In units of the prior, so that both unknowns are 1 where it was right.
    rows = np.stack([np.full_like(frames, prior.fixed_s), prior.per_frame_s * frames], axis=1)
    noise_s = NOISE * np.maximum(expected, seconds)
    design = np.concatenate([np.eye(2) / PRIOR_SPREAD, rows / noise_s[:, None]])
    target = np.concatenate([np.ones(2) / PRIOR_SPREAD, seconds / noise_s])
    fixed, per_frame = np.maximum(np.linalg.lstsq(design, target)[0], 0.0)
    return RunTime(float(fixed * prior.fixed_s), float(per_frame * prior.per_frame_s))
