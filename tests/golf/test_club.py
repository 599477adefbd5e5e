"""The shaft in drawn pictures of known lines, and what must not be taken for one."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from body4d.core.camera import CameraPath
from body4d.core.stages import StageOutput
from body4d.core.types import Camera, Clip, MaskTrack
from body4d.geometry.rotations import rotvec_to_matrix
from body4d.golf.club.at_ball import club_at_rest, club_returns
from body4d.golf.club.lines import ShaftLine, find_lines, wrapped
from body4d.golf.club.masks import club_from_masks, club_masks, line_of_mask
from body4d.golf.club.shaft import choose_lines, head_seen, lines_of_clip, shaft_angles, track_shaft
from body4d.golf.types import ClubShaft
from body4d.render.drawing import draw_trail
from fakes import stick_rig, stick_track
from make_videos import make_video

PX_PER_M = 200.0
HANDS = np.array([320.0, 240.0])
LEVELS = {"dark": (35, 35, 40), "bright": (235, 235, 230)}


def direction(degrees: float) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


@lru_cache
def scenery(seed: int = 0, grain: float = 4.0) -> np.ndarray:
    """Uneven ground: soft blotches and grain."""
    rng = np.random.default_rng(seed)
    soft = np.asarray(Image.fromarray(rng.integers(90, 150, (12, 16), np.uint8)).resize((640, 480), Image.Resampling.BICUBIC), np.float32)
    return np.clip(soft[..., None] + rng.normal(0, grain, (480, 640, 1)), 0, 255).repeat(3, 2).astype(np.uint8)


def with_line(picture: np.ndarray, start: np.ndarray, end: np.ndarray, level: str = "dark", width: float = 3.0) -> np.ndarray:
    picture = picture.copy()
    draw_trail(picture, np.stack([start, end]), np.ones(2), width / 2, LEVELS[level])
    return picture


def with_club(degrees: float, length_m: float = 0.9, level: str = "dark", **more: float) -> np.ndarray:
    return with_line(scenery(), HANDS, HANDS + direction(degrees) * length_m * PX_PER_M, level, **more)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("degrees", "length_m"), [(45, 0.9), (100.4, 1.1), (181.3, 0.5), (-72, 0.9)])
def test_a_shaft_is_found_with_its_angle_and_length(degrees, length_m, level):
    best = find_lines(with_club(degrees, length_m, level), HANDS + np.array([4, -5]), PX_PER_M)[0]
    assert np.degrees(abs(wrapped(np.array(best.angle - np.radians(degrees))))) < 0.7
    assert best.length_m == pytest.approx(length_m, abs=0.05)
    assert abs((best.grip_px - HANDS) @ direction(degrees + 90)) < 2
    assert best.support > 0.9


def test_a_large_picture_gives_the_same_line():
    large = np.asarray(Image.fromarray(with_club(45)).resize((1920, 1440), Image.Resampling.BICUBIC))
    small, big = find_lines(with_club(45), HANDS, PX_PER_M)[0], find_lines(large, 3 * HANDS, 3 * PX_PER_M)[0]
    assert big.angle == pytest.approx(small.angle, abs=0.01)
    assert big.head_px / 3 == pytest.approx(small.head_px, abs=5)


def blurred(degrees: float) -> np.ndarray:
    """A shaft that turns by 12° while the shutter is open."""
    return np.mean([with_club(degrees + turn, 0.9) for turn in np.linspace(-6, 6, 13)], axis=0).astype(np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        scenery(),
        scenery(grain=20),
        with_club(45, 0.25),
        with_line(scenery(), HANDS - 180 * direction(20), HANDS + 180 * direction(20)),  # it goes on behind the hands
        with_line(scenery(), HANDS, HANDS + 310 * direction(10)),  # longer than any club
        with_line(scenery(), HANDS + 60 * direction(45), HANDS + 200 * direction(45)),  # it does not begin at the hands
        with_line(scenery(), HANDS + np.array([40, -150]), HANDS + np.array([40, 150])),  # beside the hands
        with_club(30, width=16),  # an arm or a leg
        blurred(45),
    ],
    ids=["nothing", "grain", "short", "through", "long", "away", "beside", "thick", "blurred"],
)
def test_what_is_no_sharp_shaft_is_not_taken_for_one(picture):
    assert find_lines(picture, HANDS, PX_PER_M) == []


def test_a_line_along_a_forearm_is_left_out():
    assert find_lines(with_club(45), HANDS, PX_PER_M, [HANDS + 50 * direction(50)]) == []
    assert find_lines(with_club(45), HANDS, PX_PER_M, [HANDS + 50 * direction(80)])


def test_hands_that_are_nowhere_give_no_line():
    assert find_lines(with_club(45), np.array([np.nan, 240.0]), PX_PER_M) == []
    assert find_lines(with_club(45), np.array([5000.0, 240.0]), PX_PER_M) == []


def line(degrees: float, length_m: float = 0.9, score: float = 0.3) -> ShaftLine:
    return ShaftLine(HANDS, HANDS + direction(degrees) * length_m * PX_PER_M, 0.9, length_m, score)


def test_the_smooth_sequence_is_taken_and_gaps_stay_empty():
    turning = [[line(10.0 * t)] for t in range(8)]
    turning[2].insert(0, line(200, score=0.35))
    turning[4] = []
    assert choose_lines(turning, np.arange(8) / 240) == [0, 0, 1, 0, None, 0, 0, 0]


def test_a_jump_that_no_shaft_makes_is_left_out():
    jumping = [[line(10)], [line(12)], [line(150, score=0.2)], [line(16)], [line(18)]]
    assert choose_lines(jumping, np.arange(5) / 240) == [0, 0, None, 0, 0]
    assert choose_lines([], np.zeros(0)) == []


def shaft(degrees: list[float], frames: list[int] | None = None, length_px: float = 150.0) -> ClubShaft:
    ends = np.array([HANDS + length_px * direction(angle) for angle in degrees]).reshape(-1, 2)
    n = len(degrees)
    return ClubShaft(np.array(frames or range(n), int), np.tile(HANDS, (n, 1)), ends, np.full(n, 0.9), "line")


def swing_of_shaft(step: float) -> ClubShaft:
    """At rest at 95 degrees until frame 20, a waggle at 8, back to 300 degrees and through the ball between 40 and 41."""
    degrees = [95.0] * 21 + list(95 + np.linspace(0, 200, 15)[1:]) + [295 - step * k for k in range(1, 12)]
    degrees[8] = 100
    return shaft(degrees)


def test_the_club_rests_at_address_and_comes_back_to_the_ball():
    club = swing_of_shaft(35.0)
    rest = club_at_rest(replace(club, head_seen=head_seen(club, 640, 480)), 30, 30.0)
    assert rest is not None
    assert 19 < rest.frame_exact < 21
    assert np.degrees(rest.angle) == pytest.approx(95, abs=0.5)
    assert club_returns(club, rest, 35, 45) == pytest.approx(34 + 200 / 35, abs=0.05)
    assert club_returns(club, rest, 43, 45) is None
    assert club_returns(club, rest, 60, 70) is None
    assert club_at_rest(replace(club, head_seen=np.zeros(len(club.frames), bool)), 30, 30.0) is None


def test_a_slow_takeaway_is_traced_back_to_its_beginning():
    # Slow motion: a head that trembles by 0.2 % of the shaft and then creeps away by 0.4 % a frame.
    rng = np.random.default_rng(0)
    away = np.concatenate([np.zeros(30), 0.4 * np.arange(1, 40)])
    club = shaft([95.0] * len(away))
    noise = rng.normal(0, 0.1, (len(away), 2))
    club = replace(club, head_px=club.head_px + 1.5 * (away[:, None] * direction(5) + noise))
    rest = club_at_rest(replace(club, head_seen=np.ones(len(away), bool)), len(away), 30.0)
    assert rest is not None
    assert rest.frame_exact == pytest.approx(29, abs=1)


def test_a_club_that_always_moves_is_not_at_rest():
    club = shaft(list(np.linspace(40, 200, 30)))
    assert club_at_rest(club, 29, 30.0) is None


def test_along_the_swing_plane_the_heads_place_tells():
    lengths = np.array([150.0] * 15 + [120, 60, 40, 60, 100, 148, 120, 80])
    club = shaft([50.0] * len(lengths))
    club = replace(club, head_px=HANDS + lengths[:, None] * direction(50))
    rest = club_at_rest(club, 17, 30.0)
    assert rest is not None
    assert 13 < rest.frame_exact < 15
    assert club_returns(club, rest, 17, 22) == 20


CAMERA = Camera(500.0, 320.0, 240.0, 640, 480)
FRAMES = 12


def body_with_hands_at(hands_px: np.ndarray):
    """A body whose hands are at ``hands_px`` (frames, 2), ``PX_PER_M`` pixels a metre away."""
    depth_m = CAMERA.focal_px / PX_PER_M
    at = np.concatenate([(hands_px - [320, 240]) / PX_PER_M, np.full((len(hands_px), 1), depth_m)], 1)
    track = stick_track(1, stick_rig(), CAMERA)
    names = track.joint_names
    joints = np.zeros((len(hands_px), len(names), 3), np.float32) + np.array([0, -0.5, depth_m])
    for name in ("left_index", "left_pinky", "right_index", "right_pinky"):
        joints[:, names.index(name)] = at
    for name in ("left_elbow", "right_elbow"):
        joints[:, names.index(name)] = at + np.array([0, -0.3, 0])
    return replace(
        track,
        joints_m=joints.astype(np.float32),
        keypoints_px=np.full((len(hands_px), len(names), 2), np.nan, np.float32),
        joints_raw_m=None,
    )


class Pictures:
    warnings = ()

    def __init__(self, pictures: list[np.ndarray]) -> None:
        self.pictures, self.reads = pictures, 0
        times = np.arange(len(pictures)) / 120
        self.clip = Clip(Path("clip.mp4"), 640, 480, Fraction(120), times, np.arange(len(pictures)))

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        self.reads += 1
        for frame in range(first, len(self.pictures) if last is None else last, step):
            yield frame, self.pictures[frame]


@pytest.fixture(scope="module")
def swung() -> tuple[Pictures, np.ndarray, np.ndarray]:
    """Hands that go up while the shaft turns, in front of a dark pole that the hands pass; on two frames the shaft is not to be seen."""
    hands = np.stack([HANDS + np.array([-12 * t, -10 * t]) for t in range(FRAMES)])
    degrees = np.linspace(60, 165, FRAMES)
    pictures = []
    for t in range(FRAMES):
        picture = with_line(scenery(), HANDS + np.array([20, -10]), HANDS + np.array([225, -20]))
        pictures.append(picture if t in (5, 6) else with_line(picture, hands[t], hands[t] + 170 * direction(degrees[t])))
    return Pictures(pictures), hands, degrees


def test_the_shaft_is_followed_and_the_background_is_not(swung):
    frames, hands, degrees = swung
    found = track_shaft(frames, body_with_hands_at(hands), CAMERA)
    assert frames.reads == 1
    assert found.source == "line"
    assert set(found.frames.tolist()) <= set(range(FRAMES)) - {5, 6}
    assert len(found.frames) >= 8
    assert np.degrees(shaft_angles(found)) == pytest.approx(degrees[found.frames], abs=1.0)
    assert np.all((found.confidence > 0.5) & (found.confidence <= 1))


def test_before_a_camera_that_turns_the_background_is_compared_where_it_is_by_then(swung):
    """The pole before which the hands pass moves through the pictures: it is still no club. Without its path nothing says so."""
    still, hands, _ = swung
    pan = np.radians(np.linspace(0, 14, FRAMES))
    T = np.tile(np.eye(4), (FRAMES, 1, 1))
    T[:, :3, :3] = rotvec_to_matrix(pan[:, None] * [0.0, 1.0, 0.0])
    none = np.zeros(FRAMES)
    path = CameraPath("rotating", T, np.full(FRAMES, CAMERA.focal_px), none, none, none)
    camera = replace(CAMERA, static=False, path=path)
    # Pixels of each frame to those of the first one, of which the pictures are parts.
    back = [camera.homography(t, 0) for t in range(FRAMES)]
    warped = [
        np.asarray(
            Image.fromarray(still.pictures[t]).transform(
                (640, 480), Image.Transform.PERSPECTIVE, (H / H[2, 2]).ravel()[:8].tolist(), Image.Resampling.BICUBIC
            )
        )
        for t, H in enumerate(back)
    ]
    forth = [np.append(at, 1) @ np.linalg.inv(H).T for at, H in zip(hands, back, strict=True)]
    now = np.array([at[:2] / at[2] for at in forth])
    pole = np.degrees(np.arctan2(-10, 205))

    def poles(camera: Camera) -> int:
        lines = lines_of_clip(Pictures(warped), body_with_hands_at(now), camera, 0, FRAMES)
        return sum(abs(np.degrees(line.angle) - pole) < 8 and line.length_m > 0.4 for found in lines for line in found)

    assert poles(camera) == 0
    # Taken for still, or moving on an unknown way, or from another place: the pole is kept.
    assert poles(CAMERA) > 0
    assert poles(replace(CAMERA, static=False)) > 0
    T = T.copy()
    T[:, 0, 3] = np.linspace(0, 3, FRAMES)
    assert poles(replace(camera, path=replace(path, kind="moving", T_reference_camera=T))) > 0


def test_a_clip_without_a_club(swung):
    frames = Pictures([scenery(t) for t in range(FRAMES)])
    found = track_shaft(frames, body_with_hands_at(swung[1]), CAMERA, 2, 9)
    assert found.head_px.shape == found.grip_px.shape == (0, 2)


def club_mask(degrees: float, length_m: float = 1.0, head_px: float = 9.0) -> np.ndarray:
    """A shaft two pixels wide with a lump at one side of its end."""
    image = Image.new("1", (640, 480))
    pen, end = ImageDraw.Draw(image), HANDS + direction(degrees) * length_m * PX_PER_M
    pen.line([*HANDS, *end], fill=1, width=3)
    lump = end + 0.8 * head_px * direction(degrees + 90)
    pen.ellipse([*(lump - head_px), *(lump + head_px)], fill=1)
    return np.asarray(image, bool)


@pytest.mark.parametrize("degrees", [50, 130, -100])
def test_a_mask_gives_shaft_and_head(degrees):
    found = line_of_mask(club_mask(degrees), HANDS - np.array([8, 3]), PX_PER_M)
    assert found is not None
    assert np.degrees(found.angle) == pytest.approx(degrees, abs=1.0)
    assert np.linalg.norm(found.grip_px - HANDS) < 5
    assert found.length_m == pytest.approx(1.0, abs=0.08)


def test_masks_that_are_no_club_are_left_out():
    y, x = np.mgrid[:480, :640]
    assert line_of_mask(np.hypot(x - HANDS[0], y - HANDS[1]) < 50, HANDS, PX_PER_M) is None
    assert line_of_mask(club_mask(50), HANDS + np.array([200, 100]), PX_PER_M) is None
    assert line_of_mask(np.zeros((480, 640), bool), HANDS, PX_PER_M) is None


class ClubSegmenter:
    cache_inputs = None

    def __init__(self, masks: list[np.ndarray]) -> None:
        self.masks, self.asked, self.clip = masks, [], None

    def track(self, frames, prompts, progress):
        self.asked, self.clip = list(prompts), frames.clip
        codes = tuple(map(MaskTrack.encode, self.masks))
        return StageOutput((MaskTrack(1, np.arange(len(codes)), codes, 480, 640),) if codes else ())


def test_the_segmenter_is_asked_for_the_club_on_the_frames_of_the_swing(tmp_path):
    from body4d.video.probe import probe

    clip = probe(make_video(tmp_path / "a.mp4", frames=12))
    segmenter = ClubSegmenter([club_mask(50), club_mask(60)])
    masks = club_masks(segmenter, clip, 4, 6)
    assert masks is not None
    assert [(prompt.text, prompt.frame, prompt.person_id) for prompt in segmenter.asked] == [("golf club", 0, 1)]
    assert segmenter.clip is not None
    assert segmenter.clip.source_frames.tolist() == [4, 5]
    assert masks.frame_index.tolist() == [4, 5]
    club = club_from_masks(masks, body_with_hands_at(np.tile(HANDS, (12, 1))), CAMERA)
    assert club.frames.tolist() == [4, 5]
    assert club.source == "mask"
    assert np.degrees(shaft_angles(club)) == pytest.approx([50, 60], abs=1.0)
    assert club_masks(ClubSegmenter([]), clip) is None
    assert club_masks(segmenter, clip, 6, 6) is None
