"""Cuts: frames that begin a new shot, of another camera or of the same one after some time was left out.

Each frame is compared with the one before it by the local structure of a small picture, so that a change of light is none. A cut changes
far more than the frames around it do, and optical flow from the one before it does not explain it, as it does the jerk of a hand that holds
the camera; fast motion and blur change all of them. Where much moves anyway, a frame in doubt is judged more strictly by flow. Found from
every frame of the file in the clip's range, because frames far apart differ anyway. Cross-fades, and cuts less than ``NEIGHBOUR_FRAMES``
frames apart, are not found.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, UInt8

from body4d.core.errors import RunWarning
from body4d.core.stages import FrameSource, ProgressFn, StageOutput, ignore_progress
from body4d.core.types import Clip
from body4d.video.reader import VideoReader

SMALL_SIDE_PX = 96
"""Longer side of the compared pictures: limbs are a few pixels wide, and noise and compression are averaged out."""
STRUCTURE_SIGMA_PX = 6.0
"""Brightness is taken against its mean within this distance, and relative to its deviation there."""
MIN_DEVIATION, DEVIATION_SCALE = 12.0, 30.0
"""Deviations well below the first, in grey levels, are noise and stay small; the second brings ordinary ones back to grey levels."""
CHANGED_BY = 20.0
"""A pixel whose structure differs by more than this has changed."""
MIN_CHANGED_SHARE = 0.01
"""A cut changes at least this share of the picture; measured for a golfer from one pose to another: 0.06 to 0.16."""
NEIGHBOUR_FRAMES = 4
"""Frames before and after to whose changes a cut is compared."""
MIN_CHANGE_RATIO = 2.5
"""A cut changes this many times as much as any of them. On seven real clips, each also with only every 2nd to 6th frame, no frame that is
no cut reached more than 1.3, and a lens flare that goes out at once 2.2."""
MIN_SURE_UNEXPLAINED_RATIO = 2.0
"""Of such a change optical flow leaves this many times as much unexplained as of any neighbour: 2.9 and more at cuts put into real clips
and two films, 1.4 where a hand jerks the camera."""
MIN_DOUBT_RATIO, MIN_UNEXPLAINED_RATIO = 1.6, 3.0
"""From the first ratio on a frame is in doubt. It begins a shot where what flow leaves unexplained is the second times that of any
neighbour. The lens flare has 2.6; no other frame of those clips is in doubt."""
FLOOR_UNEXPLAINED_SHARE = 0.001
"""What noise alone leaves unexplained."""
FLOOR_SHARE = 0.002
"""Changes of a smaller share of the picture count as this one."""


def find_cuts(frames: FrameSource, progress: ProgressFn = ignore_progress) -> StageOutput[Int[np.ndarray, " cuts"]]:
    """Frames of the clip that begin a new shot, rising, with a warning that names them and those of reading every frame.

    Raises InputError as ``VideoReader`` does.
    """
    clip = frames.clip
    if len(clip) < 2:
        return StageOutput(np.zeros(0, np.int64))
    reader = _small_reader(clip)
    total = len(reader.clip)

    def pictures() -> Iterable[np.ndarray]:
        for index, rgb in reader.read():
            yield rgb
            progress(index + 1, total)

    shares = changed_shares(pictures())
    sure, doubtful = cut_rows(shares), cut_rows(shares, MIN_DOUBT_RATIO)
    at = sure
    if find_spec("cv2") is not None:
        at = np.array([row for row in doubtful.tolist() if _is_unexplained(reader, row, is_sure=row in sure)], np.int64)
    # A cut between two frames that are used is at the second of them.
    cuts = np.unique(np.searchsorted(clip.source_frames, reader.clip.source_frames[at]))
    return StageOutput(cuts, (*reader.warnings, *_warnings(clip, cuts)))


def changed_shares(pictures: Iterable[UInt8[np.ndarray, "h w 3"]]) -> Float[np.ndarray, " n"]:
    """The share of each small picture that differs in structure from the one before it; 0 for the first."""
    shares: list[float] = []
    recent: deque[np.ndarray] = deque(maxlen=1)
    for rgb in pictures:
        structure = _structure(rgb)
        shares.append(float(np.mean(np.abs(structure - recent[0]).max(-1) > CHANGED_BY)) if recent else 0.0)
        recent.append(structure)
    return np.array(shares)


def _is_unexplained(reader: VideoReader, row: int, *, is_sure: bool) -> bool:
    """Whether optical flow explains far less of the frame ``row`` than of those around it. ``is_sure``: it changes far more than they."""
    first = max(0, row - NEIGHBOUR_FRAMES - 1)
    around = [rgb for _, rgb in reader.read(first, row + NEIGHBOUR_FRAMES + 1)]
    unexplained = unexplained_shares(around)
    if is_sure:  # Of a change that is large enough in itself no share must be left.
        return row - first in cut_rows(unexplained, MIN_SURE_UNEXPLAINED_RATIO, 0.0, FLOOR_UNEXPLAINED_SHARE)
    return row - first in cut_rows(unexplained, MIN_UNEXPLAINED_RATIO)


def unexplained_shares(pictures: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float[np.ndarray, " n"]:
    """The share of each small picture that differs from the one before it, both as it is and moved along the optical flow; 0 for the first.

    What the flow takes from beyond the border has come into view, and is no difference.
    Source of the flow: Farneback, "Two-frame motion estimation based on polynomial expansion", SCIA 2003.
    """
    import cv2

    structures, shares = [_structure(rgb) for rgb in pictures], [0.0]
    greys = [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in pictures]
    rows, columns = np.mgrid[0 : greys[0].shape[0], 0 : greys[0].shape[1]].astype(np.float32)
    for (before, after), (grey, next_grey) in zip(pairwise(structures), pairwise(greys), strict=True):
        flow = cv2.calcOpticalFlowFarneback(next_grey, grey, None, 0.5, 3, 11, 2, 5, 1.1, 0)  # type: ignore[call-overload]
        x, y = columns + flow[..., 0], rows + flow[..., 1]
        moved = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        was_seen = (x >= 0) & (x <= columns.max()) & (y >= 0) & (y <= rows.max())
        differs = [np.abs(one - after).max(-1) > CHANGED_BY for one in (before, moved)]
        shares.append(float(np.mean(differs[0] & differs[1] & was_seen)))
    return np.array(shares)


def cut_rows(
    shares: Float[np.ndarray, " n"],
    min_ratio: float = MIN_CHANGE_RATIO,
    min_share: float = MIN_CHANGED_SHARE,
    floor_share: float = FLOOR_SHARE,
) -> Int[np.ndarray, " cuts"]:
    """Rows whose change is at least ``min_share`` and ``min_ratio`` times that of any of their neighbours; smaller changes of these count
    as ``floor_share``. Pure."""
    rows = []
    for i in np.flatnonzero(shares >= min_share):
        before, after = shares[max(1, i - NEIGHBOUR_FRAMES) : i], shares[i + 1 : i + 1 + NEIGHBOUR_FRAMES]
        around = max((*before, *after), default=1.0)  # of two frames alone nothing is known
        if shares[i] >= min_ratio * max(around, floor_share):
            rows.append(int(i))
    return np.array(rows, np.int64)


def _structure(rgb: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    blur = (STRUCTURE_SIGMA_PX, STRUCTURE_SIGMA_PX, 0)
    picture = rgb.astype(np.float32)
    detail = picture - gaussian_filter(picture, blur)
    return detail / (np.sqrt(gaussian_filter(detail**2, blur)) + MIN_DEVIATION) * DEVIATION_SCALE


def _small_reader(clip: Clip) -> VideoReader:
    """Every frame of the file from the clip's first to its last, small."""
    source_frames = np.arange(clip.source_frames[0], clip.source_frames[-1] + 1)
    factor = min(1.0, SMALL_SIDE_PX / max(clip.width_px, clip.height_px))
    return VideoReader(
        replace(
            clip,
            width_px=max(8, round(clip.width_px * factor)),
            height_px=max(8, round(clip.height_px * factor)),
            source_frames=source_frames,
            times_s=np.interp(source_frames, clip.source_frames, clip.times_s),  # not looked at
            cuts=np.zeros(0, np.int64),
        )
    )


def _warnings(clip: Clip, cuts: np.ndarray) -> tuple[RunWarning, ...]:
    if not len(cuts):
        return ()
    times_s = [round(float(clip.times_s[cut]), 3) for cut in cuts]
    told = ", ".join(f"{at_s:.2f} s" for at_s in times_s[:8]) + (", ..." if len(times_s) > 8 else "")
    message = f"The film is cut at {told}: nothing is smoothed, bridged or held to the floor across a cut."
    return (RunWarning("cuts", message, facts={"times_s": times_s, "frames": cuts.tolist()}),)
