"""What decides how a person is shown: colour and opacity. Pure functions of tracks."""

import numpy as np

from body4d.config import PictureSettings
from body4d.core.types import BodyTrack

Rgb = tuple[int, int, int]

# Okabe and Ito 2008, "Color Universal Design": told apart by colour-blind eyes too. The order begins with what stands out from skin,
# grass and cloth.
PALETTE: tuple[Rgb, ...] = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (0, 114, 178), (240, 228, 66))


def person_colour(place: int) -> Rgb:
    """sRGB of the person at ``place`` in the scene; after the palette's end it begins anew, paler, then darker."""
    base = np.array(PALETTE[place % len(PALETTE)], float)
    turn = place // len(PALETTE) % 3
    red, green, blue = (base, base + 0.5 * (255 - base), base * 0.6)[turn].round().astype(int)
    return (int(red), int(green), int(blue))


def body_opacity(track: BodyTrack, times_s: np.ndarray, settings: PictureSettings) -> np.ndarray:
    """Opacity (T,) of a person's body, 1 where it was seen well and ``faint_opacity`` where it was bridged or is not to be trusted.

    ``times_s`` (N,) of the clip. Changes are faded over ``fade_s``, so that bodies do not flicker; within a stretch longer than that
    the body is as faint as it should be.
    """
    trusted = track.observed & (track.confidence >= settings.faint_below_confidence)
    wanted = np.where(trusted, 1.0, settings.faint_opacity)
    times = times_s[track.frame_index]
    half = settings.fade_s / 2
    first, end = np.searchsorted(times, times - half - 1e-9), np.searchsorted(times, times + half + 1e-9, side="right")
    total = np.concatenate([[0.0], np.cumsum(wanted)])
    return (total[end] - total[first]) / (end - first)


def pelvis_on_floor(joints_m: np.ndarray, names: tuple[str, ...], T_world_camera: np.ndarray) -> np.ndarray:
    """Where the pelvis is over the floor, world axes, (T, 3) with y = 0; ``joints_m`` (T, K, 3) camera axes."""
    hips = (joints_m[:, names.index("left_hip")] + joints_m[:, names.index("right_hip")]) / 2
    world = hips @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]
    world[:, 1] = 0
    return world


def joint_speed(track: BodyTrack, times_s: np.ndarray) -> np.ndarray:
    """Speed (N,) in m/s of a person's fastest joint at each frame of the clip, 0 where the person is not followed."""
    out = np.zeros(len(times_s))
    if len(track) < 2:
        return out
    steps = np.linalg.norm(np.diff(track.joints_m, axis=0), axis=-1).max(-1) / np.diff(times_s[track.frame_index])
    steps[np.diff(track.frame_index) > 1] = 0
    # A frame is as fast as the steps to and from it.
    out[track.frame_index] = (np.append(steps, steps[-1]) + np.insert(steps, 0, steps[0])) / 2
    return out


def spread_frames(times_s: np.ndarray, speed: np.ndarray, count: int, motion_share: float) -> np.ndarray:
    """Rising frame indices, ``count`` or as many as there are, spread half by time and half by movement, first and last included.

    ``speed`` (N,) at each frame; ``motion_share`` in [0, 1]: 0 spreads them evenly in time, 1 puts them where most moves.
    """
    total = len(times_s)
    if total <= count:
        return np.arange(total)
    steps = np.diff(times_s)
    travel = steps * (speed[1:] + speed[:-1]) / 2
    progress = (1 - motion_share) * steps / steps.sum()
    progress = progress + motion_share * (travel / travel.sum() if travel.sum() > 0 else steps / steps.sum())
    reached = np.concatenate([[0.0], np.cumsum(progress)])
    frames = np.searchsorted(reached, np.linspace(0, reached[-1], count) - 1e-9)
    frames[0], frames[-1] = 0, total - 1
    # Moments that fall on one frame move on to the next free one, and back from the end.
    for i in range(1, count):
        frames[i] = max(frames[i], frames[i - 1] + 1)
    for i in range(count - 1, -1, -1):
        frames[i] = min(frames[i], total - count + i)
    return frames
