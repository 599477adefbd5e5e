"""BlazePose's tracking on scripted detections, and with the networks themselves where their files and the real clips are there."""

import dataclasses
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from body4d.config import BlazePoseSettings, PeopleSettings
from body4d.core.errors import Cancelled, InputError, MissingDependencyError, NoPersonError, SettingsError
from body4d.core.joints import Blazepose33 as J
from body4d.core.joints import Hand21 as H
from body4d.core.stages import ignore_progress
from body4d.core.types import Clip, Prompt
from body4d.models.blazepose import segmenter as blazepose
from body4d.models.blazepose.hands import HandDetection
from body4d.models.blazepose.landmarks import PoseDetection
from body4d.models.blazepose.model_files import BlazePoseModels
from body4d.models.blazepose.roi import TILE_SHARES, AlignmentFilter, RotatedRoi, search_tiles
from body4d.models.blazepose.segmenter import BlazePoseSegmenter
from body4d.models.blazepose.tracker import COARSE_SEARCH_EVERY_S, PoseTracker, _without_stray_pieces

S = BlazePoseSettings()
MODELS = BlazePoseModels(Path("detector"), Path("landmarks"), "full")
WIDTH, HEIGHT = 320, 240
RED, BLUE = (200, 30, 30), (30, 40, 190)


class Frames:
    """A FrameSource of pictures in memory."""

    def __init__(self, pictures, rate=30):
        self._pictures = pictures
        height, width = pictures[0].shape[:2]
        times = np.arange(len(pictures)) / rate
        self.clip = Clip(Path("clip.mp4"), width, height, Fraction(rate), times, np.arange(len(pictures)))

    def read(self, first=0, last=None, step=1):
        for index in range(first, len(self._pictures) if last is None else last, step):
            yield index, self._pictures[index]


BODY = {11: (8, -30), 12: (-8, -30), 13: (10, -15), 14: (-10, -15), 15: (10, 0), 16: (-10, 0), 23: (6, 0), 24: (-6, 0)}
BODY |= {25: (6, 25), 26: (-6, 25), 27: (6, 50), 28: (-6, 50)}


def painted(*people):
    """A picture with an upright, plainly dressed figure for each (x, colour), hips at y=120."""
    picture = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for x, colour in people:
        picture[70:175, max(0, x - 12) : x + 12] = colour
    return picture


class ScriptedNetworks:
    """Sees a figure of ``painted`` wherever a region's centre lies on one, and finds all of them in a whole-picture tile."""

    reads_hands = False

    def __init__(self, models=None, num_workers=1):
        self.searched = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @staticmethod
    def _figures(rgb):
        coloured = np.any(np.abs(rgb[120].astype(int) - 120) > 20, axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], coloured.astype(int), [0]]) != 0))
        for start, end in edges.reshape(-1, 2):
            for piece in range(start, end, 24):  # two figures side by side
                yield (piece + min(piece + 24, end)) / 2

    def detect(self, rgb, wanted):
        self.searched += 1
        return [RotatedRoi(x, 120, 150, 0) for x in self._figures(rgb) if any(x0 <= x < x1 for x0, _, x1, _ in wanted)]

    def landmarks(self, rgb, rois):
        return [self._pose(rgb, roi) for roi in rois]

    def _pose(self, rgb, roi):
        near = [x for x in self._figures(rgb) if abs(x - roi.x_px) < 20]
        if not near:
            return None
        x = min(near, key=lambda n: abs(n - roi.x_px))
        points = np.tile([x, 78.0], (33, 1))
        for joint, (dx, dy) in BODY.items():
            points[joint] = (x + dx, 120 + dy)
        x0, x1 = max(0, int(x) - 30), min(WIDTH, int(x) + 30)
        mask_probability = np.zeros((HEIGHT, x1 - x0), np.float32)
        mask_probability[70:175, max(0, int(x) - 12 - x0) : int(x) + 12 - x0] = 0.9
        seen = np.full(33, 0.9)
        alignment = np.array([[x, 120.0], [x, 60.0]])
        return PoseDetection(points, np.zeros(33), np.zeros((33, 3)), seen, alignment, mask_probability, (x0, 0, x1, HEIGHT))


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(blazepose, "PoseNetworks", ScriptedNetworks)


def track(pictures, prompts=(), report=ignore_progress, models=MODELS, **people):
    segmenter = BlazePoseSegmenter(S, PeopleSettings(**people), models)
    output = segmenter.track(Frames(pictures), prompts, report)
    return output.value, tuple(warning.message for warning in output.warnings)


def click(frame, x, y=120, **rest):
    return Prompt(frame=frame, points_px=np.array([[x, y]], float), labels=np.array([1]), **rest)


# --- following, without a model ---


@pytest.mark.parametrize("frames", [1, 3, 20])
def test_one_person_is_followed_on_every_frame(scripted, frames):
    (person,), notes = track([painted((100 + t, RED)) for t in range(frames)])
    assert person.person_id == 1
    assert list(person.frame_index) == list(range(frames))
    assert person.landmarks is not None
    assert person.landmarks.points_px[:, 23, 0] == pytest.approx(106 + np.arange(frames))
    assert (person.width_px, person.height_px) == (WIDTH, HEIGHT)
    assert person.areas_px() == pytest.approx(np.full(frames, 24 * 105))
    assert notes == ()


def test_hands_are_kept_where_they_are_seen_and_nan_where_not(monkeypatch):
    """The network sees a left hand in a rough region only when it reads again, from frame 2 on; the right wrist has no room for a hand."""
    asked: list[tuple[int, float]] = []

    class WithHands(ScriptedNetworks):
        reads_hands = True

        def landmarks(self, rgb, rois):
            poses = super().landmarks(rgb, rois)
            for pose in poses:
                if pose is not None:
                    pose.points_px[[J.LEFT_INDEX, J.LEFT_PINKY]] = pose.points_px[J.LEFT_WRIST] + (0, 30)
                    pose.points_px[[J.RIGHT_INDEX, J.RIGHT_PINKY]] = pose.points_px[J.RIGHT_WRIST] + (0, 5)
            return poses

        def hands(self, rgb, rois):
            asked.extend((roi.side_px, roi.angle) for roi in rois)
            rough = [abs(roi.side_px - 2.7 * 60) < 1e-6 for roi in rois]
            seen = rgb[0, 0, 0] == 0
            score = [0.3 if r else 0.9 if seen else 0.2 for r in rough]
            return [HandDetection(self.points(roi), np.ones((21, 3)), s, 0.25) for roi, s in zip(rois, score, strict=True)]

        @staticmethod
        def points(roi):
            points = np.tile([roi.x_px, roi.y_px + 24.0], (21, 1))
            points[H.WRIST] -= (0, 54)
            points[[H.PINKY_PIP, H.THUMB_IP]] += (40, 0), (-40, 0)
            return points

    monkeypatch.setattr(blazepose, "PoseNetworks", WithHands)
    pictures = [painted((100, RED)) for _ in range(8)]
    for picture in pictures[2:]:
        picture[0, 0] = 0
    with_hands = dataclasses.replace(MODELS, hands=Path("hands"))
    (person,), _ = track(pictures, models=with_hands)
    hands = person.landmarks.hands
    # Not seen in the first frames, so looked for again after 0.15 s: on frame 5.
    assert (hands.score[:, 0] > 0).tolist() == [False] * 5 + [True] * 3
    assert np.isnan(hands.points_px[:5, 0]).all()
    assert np.isfinite(hands.points_px[5:, 0]).all()
    assert hands.right_probability[5:, 0] == pytest.approx(0.25)
    assert (hands.score[:, 1] == 0).all()
    assert len(asked) == 6, "twice on frames 0 and 5, once each in the hand's own region on frames 6 and 7"
    assert track(pictures)[0][0].landmarks.hands is None


def test_two_people_crossing_keep_their_identities(scripted):
    def places(t):
        return 60 + 4 * t, 260 - 4 * t

    pictures = []
    for t in range(50):
        red, blue = places(t)
        pictures.append(painted((red, RED), (blue, BLUE)) if abs(red - blue) >= 24 else painted((red, RED)))
    people, notes = track(pictures, count="all")
    assert len(people) == 2
    for person in people:
        x = person.landmarks.points_px[:, [23, 24], 0].mean(axis=1)
        starts_red = x[0] < 160
        wanted = np.array([places(t)[0 if starts_red else 1] for t in person.frame_index])
        assert np.abs(x - wanted).max() < 13  # touching figures blur a little; the other one is farther off before and after
        assert person.frame_index[-1] == 49
    assert any("was lost between" in note for note in notes)


def test_somebody_gone_for_a_moment_comes_back_as_themselves(scripted):
    pictures = [painted((100, RED), (220, BLUE)) if not 10 <= t < 30 else painted((220, BLUE)) for t in range(60)]
    people, notes = track(pictures, count="all")
    assert sorted(len(p) for p in people) == [pytest.approx(40, abs=4), 60]
    assert len(notes) == 1
    assert "was lost between 0.3 s and 1.0 s" in notes[0]


def test_somebody_else_in_the_same_place_is_somebody_else(scripted):
    pictures = [painted((100, RED)) if t < 20 else painted() if t < 30 else painted((100, BLUE)) for t in range(90)]
    people, _ = track(pictures, count="all")
    assert len(people) == 2
    first, second = sorted(people, key=lambda p: p.frame_index[0])
    assert first.frame_index[-1] == 19
    assert second.frame_index[0] >= 30


def test_across_a_cut_people_are_found_at_once_and_known_by_their_clothes(scripted):
    # The other camera sees both from elsewhere, so that each stands where the other stood.
    pictures = [painted((80, RED), (240, BLUE))] * 10 + [painted((80, BLUE), (240, RED))] * 10
    frames = Frames(pictures)
    frames.clip = dataclasses.replace(frames.clip, cuts=np.array([10]))
    output = BlazePoseSegmenter(S, PeopleSettings(count="all"), MODELS).track(frames, (), ignore_progress)
    assert len(output.value) == 2
    for mask in output.value:
        assert mask.frame_index.tolist() == list(range(20))
        x = mask.landmarks.points_px[:, J.LEFT_HIP, 0]
        assert abs(x[10] - x[9]) > 100
    stranger = Frames([painted((160, RED))] * 10 + [painted((160, BLUE))] * 10)
    stranger.clip = frames.clip
    both = BlazePoseSegmenter(S, PeopleSettings(count="all"), MODELS).track(stranger, (), ignore_progress)
    assert [mask.frame_index[[0, -1]].tolist() for mask in both.value] == [[0, 9], [10, 19]]
    brief = Frames([painted((160, RED))] * 16 + [painted((160, BLUE))] * 4)
    brief.clip = dataclasses.replace(brief.clip, cuts=np.array([16]))
    main = BlazePoseSegmenter(S, PeopleSettings(), MODELS).track(brief, (), ignore_progress)
    assert [len(mask) for mask in main.value] == [16, 4]


def test_masks_never_overlap(scripted):
    people, _ = track([painted((100, RED), (124, BLUE))] * 3, count="all")
    assert len(people) == 2
    assert not (people[0].mask(1) & people[1].mask(1)).any()


def test_a_lone_person_costs_few_searches():
    graphs = ScriptedNetworks()
    tracker = PoseTracker(graphs, S)  # pyright: ignore[reportArgumentType]
    for t in range(60):
        tracker.step(t, t / 30, painted((100, RED)))
    assert len(tracker.tracks) == 1
    assert graphs.searched <= 2 / COARSE_SEARCH_EVERY_S + 2


def test_no_more_are_followed_than_allowed(scripted):
    settings = BlazePoseSettings(max_people=2)
    segmenter = BlazePoseSegmenter(settings, PeopleSettings(count="all"), MODELS)
    output = segmenter.track(Frames([painted((60, RED), (160, BLUE), (260, (20, 180, 20)))] * 40), (), ignore_progress)
    people = output.value
    assert len(people) == 2
    assert "too_many_people" in [warning.code for warning in output.warnings]


def test_nobody_is_an_error(scripted):
    with pytest.raises(NoPersonError, match="no person was found in its 4 frames"):
        track([painted()] * 4)


def test_report_counts_frames_and_may_cancel(scripted):
    seen = []

    def report(done, total):
        seen.append((done, total))
        if done == 3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        track([painted((100, RED))] * 9, report=report)
    assert seen == [(1, 9), (2, 9), (3, 9)]


def test_pieces_of_mask_without_a_joint_are_dropped():
    pose = ScriptedNetworks()._pose(painted((100, RED)), RotatedRoi(100, 120, 150, 0))
    assert pose is not None
    speckled = pose.mask_probability.copy()
    speckled[5:15, 2:9] = 0.9
    clean = _without_stray_pieces(dataclasses.replace(pose, mask_probability=speckled))
    assert np.array_equal(clean.mask_probability, pose.mask_probability)


def test_a_detection_that_is_not_confirmed_is_nobody():
    class Fickle(ScriptedNetworks):
        looks = 0

        def landmarks(self, rgb, rois):
            self.looks += len(rois)
            return super().landmarks(rgb, rois) if self.looks == len(rois) else [None] * len(rois)

    tracker = PoseTracker(Fickle(), S)  # pyright: ignore[reportArgumentType]
    tracker.step(0, 0.0, painted((100, RED)))
    assert tracker.tracks == []


def test_a_region_that_takes_in_more_than_the_person_is_read_until_it_settles():
    """Landmarks lie halfway between the middle of the region, which shows a tree as well, and the person."""

    class BesideATree(ScriptedNetworks):
        def detect(self, rgb, wanted):
            return [RotatedRoi(roi.x_px + 120, roi.y_px, roi.side_px, 0) for roi in super().detect(rgb, wanted)]

        def landmarks(self, rgb, rois):
            (x,) = self._figures(rgb)
            poses = super().landmarks(rgb, [dataclasses.replace(roi, x_px=x) for roi in rois])
            off = [(roi.x_px - x) / 2 for roi in rois]
            return [
                dataclasses.replace(pose, points_px=pose.points_px + np.array([dx, 0]), alignment_px=pose.alignment_px + np.array([dx, 0]))
                for pose, dx in zip(poses, off, strict=True)
                if pose is not None
            ]

    tracker = PoseTracker(BesideATree(), S)  # pyright: ignore[reportArgumentType]
    tracker.step(0, 0.0, painted((100, RED)))
    (person,) = tracker.tracks
    assert person.poses[0].points_px[23, 0] == pytest.approx(106, abs=16)  # 36 after two readings


class BehindATree(ScriptedNetworks):
    """On the first eight frames, numbered by their first pixel, a large region stays on a tree and the person, and comes off it as they
    walk on; a small one shows the person alone."""

    def detect(self, rgb, wanted):
        return [dataclasses.replace(roi, side_px=300.0) for roi in super().detect(rgb, wanted)]

    def _pose(self, rgb, roi):
        pose = super()._pose(rgb, roi)
        tree_px = min(60, 20 * (8 - int(rgb[0, 0, 0])))
        if pose is None or tree_px <= 0 or roi.side_px < 170:
            return pose
        points, alignment = pose.points_px - [0, tree_px / 2], pose.alignment_px - [[0, 0], [0, tree_px]]
        return dataclasses.replace(pose, points_px=points, alignment_px=alignment, visibility=np.full(33, 0.6))


def numbered(*pictures):
    for i, picture in enumerate(pictures):
        picture[0, 0] = i
    return pictures


def test_somebody_whose_region_settles_late_is_read_once_more_on_the_frames_before():
    tracker = PoseTracker(BehindATree(), S)  # pyright: ignore[reportArgumentType]
    for frame, picture in enumerate(numbered(*(painted((100 + frame, RED)) for frame in range(14)))):
        tracker.step(frame, frame / 30, picture)
        if frame == 5:
            assert tracker.tracks[0].poses[0].visibility.max() == 0.6
    (person,) = tracker.tracks
    assert person.frames == list(range(14))
    assert [pose.points_px[23, 1] for pose in person.poses] == pytest.approx([120] * 14)
    assert np.mean([pose.visibility.mean() for pose in person.poses]) == pytest.approx(0.9)
    assert len(person.mask_codes) == len(person.hands) == 14


def test_what_is_hardly_seen_read_back_stays_and_so_does_who_is_beside_others():
    class HardlySeen(BehindATree):
        def _pose(self, rgb, roi):
            pose = super()._pose(rgb, roi)
            return dataclasses.replace(pose, visibility=np.full(33, 0.4)) if pose and rgb[0, 0, 0] < 8 and roi.side_px < 170 else pose

    pair = [painted((60, RED), (240, BLUE)) for _ in range(14)]
    for networks, pictures in ((HardlySeen(), [painted((100, RED)) for _ in range(14)]), (BehindATree(), pair)):
        tracker = PoseTracker(networks, S)  # pyright: ignore[reportArgumentType]
        for frame, picture in enumerate(numbered(*pictures)):
            tracker.step(frame, frame / 30, picture)
        assert all(track.poses[0].points_px[23, 1] == 90 for track in tracker.tracks)


# --- prompts ---


def test_a_click_picks_its_person(scripted):
    pictures = [painted((100, RED), (220, BLUE))] * 5
    (person,), notes = track(pictures, [click(2, 220)])
    assert person.landmarks.points_px[0, 23, 0] == pytest.approx(226)
    assert any("not pointed at" in note for note in notes)


def test_prompts_give_order_and_names(scripted):
    pictures = [painted((100, RED), (220, BLUE))] * 5
    people, _ = track(pictures, [click(0, 220, person_id=7), Prompt(frame=1, box_px=np.array([86.0, 68, 114, 176]))])
    assert [p.person_id for p in people] == [7, 1]


def test_prompts_of_one_person_join_their_stretches(scripted):
    pictures = [painted((100, RED)) if t < 20 else painted() if t < 30 else painted((100, BLUE)) for t in range(90)]
    (person,), _ = track(pictures, [click(5, 100, person_id=1), click(80, 100, person_id=1)])
    assert person.frame_index[0] == 0
    assert person.frame_index[-1] == 89


@pytest.mark.parametrize(
    ("prompts", "error", "code"),
    [
        ([Prompt(text="the man")], SettingsError, "text_prompt_needs_sam"),
        ([click(0, 300)], InputError, "prompt_points_at_nobody"),
        ([click(9, 100)], InputError, "prompt_frame_outside_clip"),
        ([click(0, 100, person_id=1), click(1, 100, person_id=2)], InputError, "prompts_of_one_person"),
    ],
)
def test_prompts_that_cannot_be_followed(scripted, prompts, error, code):
    with pytest.raises(error) as caught:
        track([painted((100, RED))] * 3, prompts)
    assert caught.value.code == code
    assert "--" not in caught.value.message


# --- regions and tiles ---


def test_a_region_turns_with_the_body():
    up, right = (RotatedRoi.from_alignment(np.array([[50.0, 50], point])) for point in ([50, 30], [70, 50]))
    assert (up.angle, right.angle) == (0, pytest.approx(np.pi / 2))
    assert up.side_px == right.side_px == 2 * 20 * 1.25


@pytest.mark.parametrize("size", [(8, 8), (640, 480), (480, 640), (1920, 1080), (3000, 100)])
def test_tiles_cover_the_picture_and_stay_inside(size):
    width, height = size
    for share in TILE_SHARES:
        squares = search_tiles(width, height, [share])[1:]
        covered = np.zeros((height, width), bool)
        for x0, y0, x1, y1 in squares:
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            covered[y0:y1, x0:x1] = True
        assert covered.all() or not squares


def test_alignment_filter_holds_still_noise_and_follows_speed():
    rng, noisy, fast = np.random.default_rng(0), AlignmentFilter(), AlignmentFilter()
    base = np.array([[100.0, 100], [100, 0]])
    shaken = [noisy(base + rng.normal(0, 0.5, (2, 2)), 1 / 30) for _ in range(60)]
    assert np.std(np.array(shaken)[20:, 0, 0]) < 0.25
    moved = [fast(base + np.array([20.0 * t, 0]), 1 / 30) for t in range(30)]
    assert abs(moved[-1][0, 0] - (100 + 20 * 29)) < 10


# --- what is missing ---


def test_without_litert_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingDependencyError, match="LiteRT") as raised:
        track([painted()])
    assert "body4d[lite]" in str(raised.value.hint)


# --- with the networks ---


@pytest.fixture(scope="module")
def golf(shared):
    av = pytest.importorskip("av")
    with av.open(str(shared / "videos" / "golf_swing.mp4")) as container:
        frames = container.decode(video=0)
        return [next(frames).to_ndarray(format="rgb24") for _ in range(12)]


@pytest.mark.parametrize(("size", "frames"), [((8, 8), 1), ((3, 200), 3), ((64, 64), 3)])
def test_tiny_pictures_of_nothing_hold_no_person(size, frames, models):
    noise = np.random.default_rng(0).integers(0, 255, (frames, *size, 3)).astype(np.uint8)
    with pytest.raises(NoPersonError):
        track(list(noise), models=models)


def test_the_golfer_is_one_person_and_the_same_each_time(golf, models):
    first, second = (track(golf, models=models, count="all")[0] for _ in range(2))
    assert len(first) == 1
    assert len(first[0]) == len(golf)
    assert first[0].codes == second[0].codes
    for name in ("points_px", "depth_px", "world_m", "visibility"):
        assert np.array_equal(getattr(first[0].landmarks, name), getattr(second[0].landmarks, name))
    landmarks = first[0].landmarks
    assert np.abs(landmarks.depth_px[:, [23, 24]].mean(axis=1)).max() < 1  # 0 at the hips
    assert np.abs(landmarks.world_m[:, [23, 24]].mean(axis=1)).max() < 0.01
    inside = [first[0].mask(t)[tuple(landmarks.points_px[t, 12].astype(int)[::-1])] for t in range(len(golf))]
    assert all(inside)  # the near shoulder lies on the mask
