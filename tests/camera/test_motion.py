"""Does the camera move? From points alone against real projections of points in space, from pixels of made clips, and on real clips."""

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from body4d.camera.motion import (
    MIN_MOTION_SHARE,
    ClipMotion,
    PairMotion,
    camera_motion,
    clip_motion,
    motion_warnings,
    pair_motion,
    prepare_frame,
    track_corners,
)
from body4d.config import CameraSettings, VideoSettings
from body4d.core.types import Clip, MaskTrack

# --- points ---

W, H = 480, 270
FOCAL = 350.0


def projected(points: np.ndarray, focal: float = FOCAL) -> np.ndarray:
    return points[:, :2] / points[:, 2:] * focal + np.array([W / 2, H / 2])


def scene(seed: int = 0, count: int = 300, near: float = 4.0, far: float = 30.0) -> np.ndarray:
    """Points (P, 3) all over the picture, at many distances."""
    rng = np.random.default_rng(seed)
    pixels = rng.random((count, 2)) * [W, H]
    z = near + (far - near) * rng.random(count)
    return np.column_stack([(pixels - [W / 2, H / 2]) / FOCAL * z[:, None], z])


def turned(points: np.ndarray, yaw_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    return Rotation.from_euler("yxz", [yaw_deg, pitch_deg, roll_deg], degrees=True).apply(points)


def person(a: np.ndarray, b: np.ndarray, share: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The points in the middle ``share`` of the picture walk 40 pixels to the right, arms and legs apart."""
    rng = np.random.default_rng(seed)
    inside = np.abs(a[:, 0] - W / 2) < share * W / 2
    b = b.copy()
    b[inside] = a[inside] + [40, 0] + 4 * rng.standard_normal((inside.sum(), 2))
    return a, b


def noisy(a: np.ndarray, b: np.ndarray, px: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    return a, b + px * np.random.default_rng(2).standard_normal(b.shape)


ROOM = scene()
MIDDLE = np.array([0.0, 0.0, 14.0])
"""What a camera that circles looks at: things before it go one way, things behind it the other."""
STILL = (projected(ROOM), projected(ROOM))


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        (noisy(*STILL), "still"),
        (noisy(*person(*STILL, share=0.3)), "still"),
        (noisy(*person(*STILL, share=0.42)), "still"),
        ((STILL[0], STILL[1] + 1.0), "still"),  # a tripod in the wind
        ((STILL[0], STILL[1] + [14.0, 3.0]), "moved"),
        ((STILL[0], projected(turned(ROOM, 2.0))), "moved"),
        ((STILL[0], projected(turned(ROOM, 8.0, 2.0))), "moved"),
        ((STILL[0], projected(turned(ROOM, 20.0))), "moved"),
        (noisy(*person(STILL[0], projected(turned(ROOM, 5.0)), share=0.3)), "moved"),
        ((STILL[0], projected(ROOM, 1.1 * FOCAL)), "moved"),
        ((STILL[0], projected(ROOM, 0.6 * FOCAL)), "moved"),
        ((STILL[0], projected(turned(ROOM, 0, 0, 3.0))), "moved"),
        ((STILL[0], projected(turned(ROOM - MIDDLE, 12.0) + MIDDLE)), "travelled"),
        ((STILL[0][:10], STILL[1][:10]), "unknown"),
        ((STILL[0] * [0.2, 0.2], STILL[1] * [0.2, 0.2]), "unknown"),  # all in one corner: one thing
        ((np.zeros((0, 2)), np.zeros((0, 2))), "unknown"),
    ],
    ids=[
        "still", "a person", "a near person", "wind", "shift", "slow pan", "pan", "fast pan", "pan with a person", "zoom in", "zoom out",
        "roll", "circling", "few points", "one thing", "nothing",
    ],
)  # fmt: skip
def test_pair(pair: tuple[np.ndarray, np.ndarray], kind: str) -> None:
    assert pair_motion(*pair, W, H).kind == kind


def test_a_walk_past_a_street_is_no_turn() -> None:
    """Walking sideways, near things move by tens of pixels and far ones by a few."""
    street = scene(near=1.5, far=40)
    motion = pair_motion(projected(street), projected(street - [1.0, 0, 0]), W, H)
    assert motion.kind in ("moved", "travelled")
    assert motion.shift_share > MIN_MOTION_SHARE


@pytest.mark.parametrize("factor", [0.7, 0.97, 1.05, 1.6])
def test_zoom_is_measured(factor: float) -> None:
    motion = pair_motion(STILL[0], projected(ROOM, factor * FOCAL), W, H)
    assert motion.zoom == pytest.approx(factor, rel=1e-6)
    assert motion.shift_share < 1e-6


def test_pan_and_roll_are_measured() -> None:
    panned = projected(turned(ROOM, -5.0))
    motion = pair_motion(STILL[0], panned, W, H)
    assert motion.shift_share == pytest.approx(np.linalg.norm(panned - STILL[0], axis=1).mean() / np.hypot(W, H), rel=0.05)
    # Clockwise in the picture is positive, as y is down.
    assert pair_motion(STILL[0], projected(turned(ROOM, 0, 0, 4.0)), W, H).roll_deg == pytest.approx(4.0)


def test_a_textured_object_does_not_decide() -> None:
    busy = np.concatenate([STILL[0][:80], np.random.default_rng(3).random((900, 2)) * [60, 45]])
    after = busy.copy()
    after[80:] += [30, 0]
    assert pair_motion(busy, after, W, H).kind == "still"


def test_the_same_answer_each_time() -> None:
    pair = noisy(STILL[0], projected(turned(ROOM, 3.0)))
    assert pair_motion(*pair, W, H) == pair_motion(*pair, W, H)


MOVED = PairMotion("moved", 0.1, 1.2, 1.0)
OTHER = PairMotion("travelled", 0.3)
STOOD = PairMotion("still")
NOTHING = PairMotion("unknown")


@pytest.mark.parametrize(
    ("pairs", "motion"),
    [
        ([], ClipMotion("unknown")),
        ([NOTHING] * 4, ClipMotion("unknown")),
        ([STOOD] * 4, ClipMotion("still", num_pairs=4)),
        ([STOOD, NOTHING], ClipMotion("still", num_pairs=1)),
        ([MOVED, STOOD, STOOD], ClipMotion("still", num_pairs=3, num_moved=1)),
        ([MOVED], ClipMotion("moving", 0.1, 1.2, 1.0, 1, 1)),
        ([MOVED, OTHER, STOOD, NOTHING], ClipMotion("moving", 0.3, 1.2, 1.0, 3, 2)),
        ([MOVED, PairMotion("moved", 0.0, 0.5, -9.0)], ClipMotion("moving", 0.1, 0.5, -9.0, 2, 2)),
    ],
)
def test_clip(pairs: list[PairMotion], motion: ClipMotion) -> None:
    assert clip_motion(pairs) == motion


@pytest.mark.parametrize(
    ("motion", "setting", "words"),
    [
        (ClipMotion("still"), "static", ()),
        (ClipMotion("unknown"), "static", ("cannot be seen",)),
        (ClipMotion("moving", 0.12), "static", ("seems to move (its picture shifts by 12% of the diagonal or more)", "--camera auto")),
        (ClipMotion("moving", 0.12, 0.5), "static", ("zoomed by 2.00 or more",)),
        (ClipMotion("moving", 0.12), "auto", ("The camera moves (its picture", "bodies stay in the camera's axes", "--camera static")),
        (ClipMotion("moving", 0.12), "moving", ("bodies stay in the camera's axes", "no floor is claimed")),
        (ClipMotion("still"), "moving", ("bodies stay in the camera's axes", "--camera static")),
    ],
)
def test_warnings(motion: ClipMotion, setting: str, words: tuple[str, ...]) -> None:
    text = " ".join(warning.text for warning in motion_warnings(motion, CameraSettings(motion=setting)))  # type: ignore[arg-type]
    assert all(word in text for word in words)
    assert bool(text) == bool(words)


# --- pixels ---

WIDTH, HEIGHT, COUNT = 320, 180, 60


def canvas(seed: int, height: int = 700, width: int = 1100) -> np.ndarray:
    """A picture with structure of all sizes, as streets have."""
    rng = np.random.default_rng(seed)
    out = np.zeros((height, width, 3), np.float32)
    for size in (4, 10, 30, 90):
        small = rng.random((height // size + 2, width // size + 2, 3), np.float32)
        out += cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return (out / 4 * 255).astype(np.uint8)


STREET, COAT = canvas(0), canvas(1)


class MadeFrames:
    """Frames cut from a canvas: (middle x, middle y, zoom, roll in degrees) of each moment 0 to 1; a person may walk across it."""

    def __init__(self, view: Callable[[float], tuple[float, float, float, float]], person_px: int = 0, noise: float = 2.0) -> None:
        self.clip = Clip(Path("made.mp4"), WIDTH, HEIGHT, Fraction(30), np.arange(COUNT) / 30, np.arange(COUNT))
        self._view, self._person, self._noise = view, person_px, noise

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for frame in range(first, COUNT if last is None else last, step):
            moment = frame / (COUNT - 1)
            x, y, zoom, roll = self._view(moment)
            turn = cv2.getRotationMatrix2D((x, y), roll, zoom)
            turn[:, 2] += np.array([WIDTH / 2 - x, HEIGHT / 2 - y])
            picture = cv2.warpAffine(STREET, turn, (WIDTH, HEIGHT))
            if self._person:
                picture[self.where(frame)] = COAT[: 0 + 150, 7 * (frame % 3) : 7 * (frame % 3) + self._person].reshape(-1, 3)
            noise = self._noise * np.random.default_rng(frame).standard_normal(picture.shape)
            yield frame, np.clip(picture + noise, 0, 255).astype(np.uint8)

    def where(self, frame: int) -> np.ndarray:
        """Mask (HEIGHT, WIDTH) of the person on a frame."""
        left = int(frame / COUNT * (WIDTH - self._person))
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[20:170, left : left + self._person] = True
        return mask

    def masks(self) -> tuple[MaskTrack, ...]:
        return (MaskTrack(1, np.arange(COUNT), tuple(MaskTrack.encode(self.where(frame)) for frame in range(COUNT)), HEIGHT, WIDTH),)


def fixed(moment: float) -> tuple[float, float, float, float]:
    return 550, 350, 1, 0


VIEWS: dict[str, tuple[MadeFrames, str]] = {
    "still": (MadeFrames(fixed), "still"),
    "still, a person": (MadeFrames(fixed, 60), "still"),
    "still, a large person": (MadeFrames(fixed, 120), "still"),
    "trembling tripod": (MadeFrames(lambda t: (550 + np.sin(40 * t), 350 + np.cos(50 * t), 1, 0)), "still"),
    "slow pan": (MadeFrames(lambda t: (550 + 25 * t, 350, 1, 0)), "moving"),
    "pan": (MadeFrames(lambda t: (350 + 400 * t, 350, 1, 0)), "moving"),
    "pan after a while": (MadeFrames(lambda t: (350 + 250 * max(0, t - 0.5), 350, 1, 0)), "moving"),
    "there and back": (MadeFrames(lambda t: (550 + 60 * np.sin(6.283 * t), 350, 1, 0)), "moving"),
    "tilt": (MadeFrames(lambda t: (550, 250 + 150 * t, 1, 0)), "moving"),
    "zoom": (MadeFrames(lambda t: (550, 350, 1 + t, 0)), "moving"),
    "zoom out": (MadeFrames(lambda t: (550, 350, 1.6 - 0.6 * t, 0)), "moving"),
    "roll": (MadeFrames(lambda t: (550, 350, 1, 12 * t)), "moving"),
    "pan with a person": (MadeFrames(lambda t: (400 + 200 * t, 350, 1, 0), 60), "moving"),
    "hand": (MadeFrames(lambda t: (550 + 14 * np.sin(9 * t), 350 + 10 * np.sin(13 * t), 1, np.sin(7 * t))), "moving"),
    "a grey wall": (MadeFrames(lambda t: (-900, -900, 1, 0), noise=0), "unknown"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_made_clips(name: str) -> None:
    frames, kind = VIEWS[name]
    assert camera_motion(frames).kind == kind


def test_how_far_the_picture_moved() -> None:
    zoom = camera_motion(VIEWS["zoom"][0])
    # From the first frame looked at to the last it is 1.75; nothing of the first is found in the last, which are too different.
    assert 1.4 < zoom.zoom < 1.76
    assert "zoomed" in motion_warnings(zoom, CameraSettings())[0].message
    slow = camera_motion(VIEWS["slow pan"][0])
    assert slow.shift_share == pytest.approx(25 / np.hypot(WIDTH, HEIGHT), rel=0.25)


def test_masks_reveal_a_camera_that_follows_somebody() -> None:
    """Somebody large stays in the middle while the street goes by: without the mask, most of the picture stands still."""
    frames = MadeFrames(lambda t: (400 + 200 * t, 350, 1, 0), 190)
    frames.where = lambda frame: MadeFrames.where(frames, 30)  # type: ignore[method-assign]
    assert camera_motion(frames, frames.masks()).kind == "moving"


def test_masks_of_a_still_clip_change_nothing() -> None:
    frames = VIEWS["still, a person"][0]
    assert camera_motion(frames, frames.masks()).kind == "still"


def test_nothing_of_a_person_is_tracked() -> None:
    frames = VIEWS["still, a person"][0]
    (_, a), (_, b) = frames.read(10, 31, 20)
    prepared = [prepare_frame(picture, frames.where(frame)) for picture, frame in ((a, 10), (b, 30))]
    before, after = track_corners(*prepared)
    assert len(before) > 50
    for points, frame in ((before, 10), (after, 30)):
        x, y = np.floor(points).astype(int).T
        assert not frames.where(frame)[y, x].any()


def test_a_single_frame_stands_still() -> None:
    frames = MadeFrames(fixed)
    frames.clip = Clip(Path("one.png"), WIDTH, HEIGHT, Fraction(30), np.zeros(1), np.zeros(1, int))
    assert camera_motion(frames).kind == "still"


@pytest.mark.parametrize("name", ["golf_swing.mp4", "street_dance.mp4"])
def test_real_clips_on_a_stand(shared: Path, name: str) -> None:
    from body4d.video import VideoReader, probe

    frames = VideoReader(probe(shared / "videos" / name, VideoSettings()))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        motion = camera_motion(frames)
        seconds.append(time.process_time() - start)
        assert (motion.kind, motion.num_moved) == ("still", 0)
    assert min(seconds) < 2
