"""Does the camera move? Decided from where points of the background are in two frames, and then for the clip. Pure.

Between two frames of a turning or zooming camera the whole picture is moved, turned and scaled alike, nearly; of a still one most of the
picture stays where it is, whoever moves in front. Every part of the picture has one vote, so that one textured thing does not decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from body4d.config import CameraSettings
from body4d.core.errors import RunWarning

Kind = Literal["still", "moved", "travelled", "unknown"]

_TRIES = 300
_LEAST_APART = 0.05
"""Two points nearer than this share of the diagonal tell no zoom."""
_LEAST_MOVED_PAIRS = 2
"""One pair of frames alone may have been misread."""


@dataclass(frozen=True)
class PairMotion:
    """What the picture did between two frames. ``shift_share``: by how much its middle moved, as a share of the diagonal; ``zoom``: by
    what factor it grew; ``roll_deg``: turned clockwise. ``rim_share``: how far its corners moved at most. "travelled": things moved, but
    not alike, as when the camera itself goes somewhere; then ``shift_share`` is their median and there is no zoom."""

    kind: Kind
    shift_share: float = 0.0
    zoom: float = 1.0
    roll_deg: float = 0.0
    rim_share: float = 0.0


@dataclass(frozen=True)
class ClipMotion:
    """The same for a clip: the largest of what its pairs did. ``pairs`` that could be told, of which ``moved`` did not stand still."""

    kind: Literal["still", "moving", "unknown"]
    shift_share: float = 0.0
    zoom: float = 1.0
    roll_deg: float = 0.0
    pairs: int = 0
    moved: int = 0


def judge_pair(before_px: np.ndarray, after_px: np.ndarray, width_px: int, height_px: int, settings: CameraSettings) -> PairMotion:
    """What moved the points ``before_px`` (P, 2) of one frame to ``after_px`` (P, 2) of another."""
    diagonal = float(np.hypot(width_px, height_px))
    votes = votes_of(before_px, width_px, height_px, settings)
    if len(before_px) < settings.motion_least_points or parts_of(before_px, width_px, height_px, settings) < settings.motion_least_parts:
        return PairMotion("unknown")
    a, b = (_complex(points, width_px, height_px) / diagonal for points in (before_px, after_px))
    still = float(votes @ (np.abs(b - a) < settings.motion_same_share))
    scale, shift = _best(a, b, votes, settings)
    agreed = float(votes @ _agree(a, b, scale, shift, settings))
    corners = np.array([x + 1j * y for x in (-width_px, width_px) for y in (-height_px, height_px)]) / (2 * diagonal)
    rim = float(np.abs(scale * corners + shift - corners).max())
    if agreed >= settings.motion_agreed_share and agreed >= still + settings.motion_ahead_share and rim >= settings.motion_least_share:
        return PairMotion("moved", float(abs(shift)), float(abs(scale)), float(np.degrees(np.angle(scale))), rim)
    if still >= settings.motion_agreed_share:
        return PairMotion("still")
    if still <= settings.motion_incoherent_share:
        middle = float(np.median(np.abs(b - a)))
        return PairMotion("travelled", middle, rim_share=middle) if middle >= settings.motion_least_share else PairMotion("still")
    return PairMotion("unknown")


def judge_clip(pairs: Sequence[PairMotion]) -> ClipMotion:
    """Whether the camera of a clip moves, of what pairs of its frames say."""
    told = [pair for pair in pairs if pair.kind != "unknown"]
    moved = [pair for pair in told if pair.kind != "still"]
    if not told:
        return ClipMotion("unknown")
    if len(moved) < min(_LEAST_MOVED_PAIRS, len(told)):
        return ClipMotion("still", pairs=len(told), moved=len(moved))
    return ClipMotion(
        "moving",
        shift_share=max(pair.shift_share for pair in moved),
        zoom=max((pair.zoom for pair in moved), key=lambda zoom: abs(np.log(zoom))),
        roll_deg=max((pair.roll_deg for pair in moved), key=abs),
        pairs=len(told),
        moved=len(moved),
    )


def motion_warnings(motion: ClipMotion, settings: CameraSettings) -> tuple[RunWarning, ...]:
    """What the user should know about it."""
    if settings.motion == "moving":
        message = "The camera moves: bodies stay in the camera's axes of their frame, and no floor is claimed to be fixed."
        if motion.kind != "still":
            return (RunWarning("camera_moves", message),)
        message += " The background stands still, though."
        return (RunWarning("camera_moves_but_still", message, "--camera static would give a floor and a path over it."),)
    if motion.kind == "unknown":
        message = "Whether the camera moves cannot be seen from the background; it is taken to stand still."
        return (RunWarning("camera_motion_unknown", message, "--camera moving where it moves."),)
    if motion.kind == "still":
        return ()
    what = [f"its picture shifts by {100 * motion.shift_share:.0f}% of the diagonal or more"]
    zoom = max(motion.zoom, 1 / motion.zoom)
    if zoom >= settings.motion_zoom_least:
        what.append(f"is zoomed by {zoom:.2f} or more, for which no one focal length is right")
    message = f"The camera seems to move ({' and '.join(what)}): paths over the floor are not to be trusted."
    facts = {"shift_share": motion.shift_share, "zoom": zoom}
    return (RunWarning("camera_seems_to_move", message, "--camera moving keeps bodies in the camera's axes instead.", facts),)


def votes_of(points_px: np.ndarray, width_px: int, height_px: int, settings: CameraSettings) -> np.ndarray:
    """Weight (P,) of each point: every part of the picture with points in it has the same, all together have 1."""
    _, part, count = np.unique(_part(points_px, width_px, height_px, settings), return_inverse=True, return_counts=True)
    return 1 / (count[part] * len(count))


def parts_of(points_px: np.ndarray, width_px: int, height_px: int, settings: CameraSettings) -> int:
    """In how many parts of the picture points are."""
    return len(np.unique(_part(points_px, width_px, height_px, settings)))


def _part(points_px: np.ndarray, width_px: int, height_px: int, settings: CameraSettings) -> np.ndarray:
    columns, rows = settings.motion_columns, settings.motion_rows
    column = np.clip(points_px[:, 0] * columns // width_px, 0, columns - 1).astype(int)
    return np.clip(points_px[:, 1] * rows // height_px, 0, rows - 1).astype(int) * columns + column


def _complex(points_px: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Points about the picture's middle, x + iy: a turn with a zoom is then one factor."""
    return (points_px[:, 0] - width_px / 2) + 1j * (points_px[:, 1] - height_px / 2)


def _agree(a: np.ndarray, b: np.ndarray, scale: np.ndarray | complex, shift: np.ndarray | complex, settings: CameraSettings) -> np.ndarray:
    there = scale * a + shift
    return np.abs(b - there) < settings.motion_same_share + settings.motion_bent_share * np.abs(there - a)


def _best(a: np.ndarray, b: np.ndarray, votes: np.ndarray, settings: CameraSettings) -> tuple[complex, complex]:
    """Factor and shift that bring most votes of ``a`` to ``b``: of those that two points tell, the best, then settled by all that agree."""
    rng = np.random.default_rng(0)  # The same answer each time.
    i, j = rng.integers(0, len(a), (2, _TRIES))
    apart = np.abs(a[j] - a[i]) > _LEAST_APART
    i, j = i[apart], j[apart]
    if not len(i):
        return 1.0 + 0j, complex(np.median((b - a).real), np.median((b - a).imag))
    scales = (b[j] - b[i]) / (a[j] - a[i])
    shifts = b[i] - scales * a[i]
    best = int((_agree(a, b, scales[:, None], shifts[:, None], settings) @ votes).argmax())
    scale, shift = complex(scales[best]), complex(shifts[best])
    for _ in range(3):
        w = votes * _agree(a, b, scale, shift, settings)
        if not w.sum() > 0:
            break
        middle_a, middle_b = (w @ a) / w.sum(), (w @ b) / w.sum()
        size = w @ np.abs(a - middle_a) ** 2
        if size <= 0:
            break
        scale = complex((w * np.conj(a - middle_a)) @ (b - middle_b) / size)
        shift = complex(middle_b - scale * middle_a)
    return scale, shift
