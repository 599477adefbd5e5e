"""How close models/blazepose comes to MediaPipe's own graphs: detections, landmarks, world landmarks, masks and hands on real clips.

    python benchmarks/parity.py blazepose --mediapipe PYTHON [CLIP ...] [--landmarks full|heavy] [--every 12] [--write GOLDEN.npz PICTURE]

PYTHON is an interpreter of an environment of its own: python3.11 -m venv ENV && ENV/bin/pip install mediapipe==0.10.21. For ``heavy``
copy pose_landmark_heavy.tflite into its mediapipe/modules/pose_landmark/, where the graph looks for it. CLIP is by default
$BODY4D_SHARED/videos/golf_swing.mp4 and street_dance.mp4. Every n-th frame is searched in all tiles, and each region that is found is read
twice: as the detector gives it, and once more in the region of its own landmarks, as a person is who is followed. Hands are read in the
regions of the latter's landmarks, where these are large enough.

Limits: regions 0.5 px; landmarks 0.5 px in the mean of each region, 2 px for the worst that is visible; masks IoU 0.99. A landmark is
moved by its heat map or not, by a threshold on the map's largest value: where that lies within ``HEAT_MARGIN`` of the threshold, the two
readings may fall on either side of it. Such landmarks are compared with ours of the other side, counted and said.

``--write`` saves MediaPipe's answers on one picture for the project's tests.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from body4d.config import WeightsSettings
from body4d.models.blazepose import landmarks
from body4d.models.blazepose.hands import MIN_PRESENCE, MIN_ROI_SIDE_PX, HandDetection, regions, roi_from_hand
from body4d.models.blazepose.landmarks import PoseDetection
from body4d.models.blazepose.model_files import BlazePoseModels, find_models
from body4d.models.blazepose.networks import PoseNetworks
from body4d.models.blazepose.roi import RotatedRoi, search_tiles

MAX_ROI_PX = 0.5
MAX_MEAN_PX = 0.5
MAX_VISIBLE_PX = 2.0
MIN_MASK_IOU = 0.99
MIN_MASK_PX = 200
"""Smaller masks are those of people at a region's edge; a pixel more or less is a hundredth of them."""
HEAT_MARGIN = 0.01
PRESENCE_MARGIN = 0.02
"""A hand whose presence is this near to the threshold may be there in one reading and not in the other."""
COMPLEXITY = {"full": 1, "heavy": 2}
HAND_ARRAYS = ("hand_points_px", "hand_world_m", "hand_right_probability")


@dataclass
class Differences:
    """What was compared of one clip; lengths in pixels."""

    num_tiles: int = 0
    num_detections: int = 0
    num_missed: int = 0
    num_regions: int = 0
    presence_differs: int = 0
    num_at_threshold: int = 0
    roi_px: list[float] = field(default_factory=list)
    mean_px: list[float] = field(default_factory=list)
    visible_px: list[float] = field(default_factory=list)
    world_mm: list[float] = field(default_factory=list)
    visibility: list[float] = field(default_factory=list)
    mask_iou: list[float] = field(default_factory=list)
    num_hand_regions: int = 0
    hand_presence_differs: int = 0
    hand_px: list[float] = field(default_factory=list)
    hand_world_mm: list[float] = field(default_factory=list)
    right_probability: list[float] = field(default_factory=list)

    def lines(self) -> list[str]:
        """One line for each thing compared, with ok or FAIL where a limit holds."""
        visible = np.array(self.visible_px)
        checks = [
            (
                f"detections: {self.num_detections} in {self.num_tiles} tiles, {self.num_missed} in one of the two only",
                self.num_missed == 0,
            ),
            (f"alignment points of detections: worst {max(self.roi_px, default=0):.4f} px", max(self.roi_px, default=0) <= MAX_ROI_PX),
            (f"regions: {self.num_regions}, {self.presence_differs} with a person in one of the two only", self.presence_differs == 0),
            (
                f"landmarks: mean {np.mean(self.mean_px):.4f} px, worst region {max(self.mean_px):.3f} px",
                max(self.mean_px) <= MAX_MEAN_PX,
            ),
            (
                f"visible landmarks: worst {visible.max():.3f} px; beyond {MAX_VISIBLE_PX:g} px {np.sum(visible > MAX_VISIBLE_PX)} "
                f"of {visible.size}; at the threshold of their heat map {self.num_at_threshold}",
                bool(visible.max() <= MAX_VISIBLE_PX),
            ),
            (f"masks: IoU mean {np.mean(self.mask_iou):.5f}, least {min(self.mask_iou):.4f}", min(self.mask_iou) >= MIN_MASK_IOU),
        ]
        if self.num_hand_regions:
            checks += [
                (
                    f"hand regions: {self.num_hand_regions}, {len(self.hand_px)} with a hand in both, "
                    f"{self.hand_presence_differs} in one of the two only",
                    self.hand_presence_differs == 0,
                ),
                (
                    f"hand landmarks: worst {max(self.hand_px, default=0):.3f} px, world {max(self.hand_world_mm, default=0):.3f} mm, "
                    f"probability of a right hand {max(self.right_probability, default=0):.4f}",
                    max(self.hand_px, default=0) <= MAX_MEAN_PX,
                ),
            ]
        said = [f"{'ok  ' if fine else 'FAIL'} {text}" for text, fine in checks]
        said.append(f"note world landmarks: mean {np.mean(self.world_mm):.3f} mm, worst {max(self.world_mm):.2f} mm")
        said.append(f"note visibility: worst {max(self.visibility):.4f}")
        return said


def _frames(path: Path, every: int) -> list[np.ndarray]:
    if path.suffix.lower() == ".png":
        from PIL import Image

        return [np.asarray(Image.open(path).convert("RGB"))]
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for i, frame in enumerate(container.decode(video=0)) if i % every == 0]


def _ask_mediapipe(python: Path, questions: dict[str, np.ndarray], complexity: int, folder: Path) -> dict[str, np.ndarray]:
    asked, answered = folder / "questions.npz", folder / "answers.npz"
    np.savez(asked, **questions)
    script = Path(__file__).with_name("mediapipe_graphs.py")
    done = subprocess.run([str(python), str(script), str(asked), str(answered), str(complexity)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"MediaPipe's graphs failed: {done.stderr.strip().splitlines()[-1]}")
    return dict(np.load(answered))


@dataclass
class Asked:
    """Tiles of a picture, what is detected in each, the regions to read (as detected, and as its own landmarks give them), and hands."""

    tiles: np.ndarray
    detected: list[list[RotatedRoi]]
    rois: list[RotatedRoi]
    hand_rois: list[RotatedRoi]

    def arrays(self, n: int) -> dict[str, np.ndarray]:
        """As mediapipe_graphs.py reads them of picture ``n``."""
        named = {"regions": self.rois, "hand_regions": self.hand_rois}
        rows = {name: np.array([(r.x_px, r.y_px, r.side_px, r.angle) for r in rois]).reshape(-1, 4) for name, rois in named.items()}
        return {f"tiles_{n}": self.tiles} | {f"{name}_{n}": value for name, value in rows.items()}


def _questions(rgb: np.ndarray, networks: PoseNetworks) -> Asked:
    height, width = rgb.shape[:2]
    tiles = search_tiles(width, height)
    detected = [networks.detect(rgb, [tile]) for tile in tiles]
    rois = [roi for found in detected for roi in found]
    again = [RotatedRoi.from_alignment(pose.alignment_px) for pose in networks.landmarks(rgb, rois) if pose is not None]
    bodies = [pose for pose in networks.landmarks(rgb, again) if pose is not None]
    hand_rois = [one.roi for pose in bodies for one in regions(pose.points_px, pose.visibility, None, (None, None))]
    rough = networks.hands(rgb, hand_rois)
    own = [roi for hand in rough if hand and (roi := roi_from_hand(hand.points_px)).side_px >= MIN_ROI_SIDE_PX]
    return Asked(np.array(tiles), detected, [*rois, *again], [*hand_rois, *own] if networks.reads_hands else [])


def _beside_threshold(networks: PoseNetworks, rgb: np.ndarray, roi: RotatedRoi) -> list[np.ndarray]:
    """Our landmarks in a region with the threshold on heat maps a little lower, and a little higher."""
    threshold, points = landmarks.MIN_HEAT, []
    try:
        for landmarks.MIN_HEAT in (threshold - HEAT_MARGIN, threshold + HEAT_MARGIN):
            points += [pose.points_px for pose in networks.landmarks(rgb, [roi]) if pose]
    finally:
        landmarks.MIN_HEAT = threshold
    return points


def _compare_region(ours: PoseDetection | None, beside: list[np.ndarray], theirs: dict[str, np.ndarray], differences: Differences) -> None:
    differences.num_regions += 1
    if (ours is None) != (not theirs):
        differences.presence_differs += 1
    if ours is None or not theirs:
        return
    distance = np.linalg.norm(ours.points_px - theirs["points_px"], axis=1)
    nearest = np.min([np.linalg.norm(points - theirs["points_px"], axis=1) for points in beside] + [distance], axis=0)
    is_at_threshold = (distance > MAX_VISIBLE_PX) & (nearest <= MAX_VISIBLE_PX)
    differences.num_at_threshold += int((is_at_threshold & (theirs["visibility"] > 0.5)).sum())
    distance = np.where(is_at_threshold, nearest, distance)
    differences.mean_px.append(float(distance.mean()))
    differences.visible_px.extend(distance[theirs["visibility"] > 0.5].tolist())
    differences.world_mm.append(float(np.abs(ours.world_m - theirs["world_m"]).max() * 1e3))
    differences.visibility.append(float(np.abs(ours.visibility - theirs["visibility"]).max()))
    x0, y0, x1, y1 = ours.box_px
    a, b = ours.mask_probability > 0.5, theirs["mask"][y0:y1, x0:x1] > 0.5
    if (union := int((a | b).sum())) >= MIN_MASK_PX:
        differences.mask_iou.append(float((a & b).sum() / union))


def _compare_hand(ours: HandDetection | None, theirs: dict[str, np.ndarray], differences: Differences) -> None:
    differences.num_hand_regions += 1
    if (ours is None or ours.score <= MIN_PRESENCE) != (not theirs):
        differences.hand_presence_differs += ours is None or abs(ours.score - MIN_PRESENCE) > PRESENCE_MARGIN
    elif ours is not None and theirs:
        differences.hand_px.append(float(np.linalg.norm(ours.points_px - theirs["hand_points_px"], axis=1).max()))
        differences.hand_world_mm.append(float(np.abs(ours.world_m - theirs["hand_world_m"]).max() * 1e3))
        differences.right_probability.append(float(abs(ours.right_probability - theirs["hand_right_probability"])))


def _compare_clip(path: Path, models: BlazePoseModels, python: Path, every: int) -> Differences:
    differences = Differences()
    with PoseNetworks(models) as networks, tempfile.TemporaryDirectory() as folder:
        pictures = _frames(path, every)
        asked = [_questions(rgb, networks) for rgb in pictures]
        questions = {"num_pictures": np.array(len(pictures))}
        for n, (rgb, one) in enumerate(zip(pictures, asked, strict=True)):
            questions |= {f"rgb_{n}": rgb} | one.arrays(n)
        theirs = _ask_mediapipe(python, questions, COMPLEXITY[models.landmark_model], Path(folder))
        for n, (rgb, one) in enumerate(zip(pictures, asked, strict=True)):
            for k in range(len(one.tiles)):
                _compare_detections(one.detected[k], theirs[f"detections_{n}_{k}"], differences)
            for k, hand in enumerate(networks.hands(rgb, one.hand_rois)):
                _compare_hand(hand, {a: theirs[f"{a}_{n}_{k}"] for a in HAND_ARRAYS if f"{a}_{n}_{k}" in theirs}, differences)
            for k, ours in enumerate(networks.landmarks(rgb, one.rois)):
                names = ("points_px", "visibility", "world_m", "mask")
                beside = _beside_threshold(networks, rgb, one.rois[k])
                _compare_region(ours, beside, {a: theirs[f"{a}_{n}_{k}"] for a in names if f"{a}_{n}_{k}" in theirs}, differences)
    return differences


def _compare_detections(ours: list[RotatedRoi], theirs: np.ndarray, differences: Differences) -> None:
    differences.num_tiles += 1
    differences.num_detections += len(theirs)
    differences.num_missed += abs(len(ours) - len(theirs))
    for roi, row in zip(ours, theirs, strict=False):
        expected = RotatedRoi.from_alignment(row[:4].reshape(2, 2))
        turn = abs(np.angle(np.exp(1j * (roi.angle - expected.angle)))) * expected.side_px / 2
        differences.roi_px.append(
            float(max(abs(roi.x_px - expected.x_px), abs(roi.y_px - expected.y_px), abs(roi.side_px - expected.side_px), turn))
        )


def _write_golden(target: Path, picture: Path, models: BlazePoseModels, python: Path) -> None:
    (rgb,) = _frames(picture, 1)[:1]
    with PoseNetworks(models) as networks, tempfile.TemporaryDirectory() as folder:
        asked = _questions(rgb, networks)
        asked = Asked(asked.tiles, asked.detected, asked.rois[-2:], [])
        tiles, rows = asked.tiles, asked.arrays(0)["regions_0"]
        questions = {"num_pictures": np.array(1), "rgb_0": rgb} | asked.arrays(0)
        theirs = _ask_mediapipe(python, questions, COMPLEXITY[models.landmark_model], Path(folder))
    kept = {name: np.packbits(value > 0.5) if name.startswith("mask") else value.astype(np.float32) for name, value in theirs.items()}
    np.savez_compressed(target, tiles=tiles, regions=rows, **kept)
    print(f"{target}: {target.stat().st_size} bytes, {len(tiles)} tiles, {len(rows)} regions")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="parity.py blazepose", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    parser.add_argument("--mediapipe", required=True, type=Path, metavar="PYTHON")
    parser.add_argument("--landmarks", choices=sorted(COMPLEXITY), default="full")
    parser.add_argument("--every", type=int, default=12, help="Of a clip's frames, each n-th.")
    parser.add_argument("--write", nargs=2, type=Path, metavar=("GOLDEN", "PICTURE"))
    args = parser.parse_args(arguments)
    models, _ = find_models(args.landmarks, WeightsSettings())
    if args.write:
        _write_golden(*args.write, models, args.mediapipe)
        return 0
    shared = os.environ.get("BODY4D_SHARED")
    clips = args.clips or [Path(shared or ".") / "videos" / name for name in ("golf_swing.mp4", "street_dance.mp4")]
    failed = False
    for clip in clips:
        lines = _compare_clip(clip, models, args.mediapipe, args.every).lines()
        print(f"{clip.name}, {args.landmarks}", *lines, sep="\n", flush=True)
        failed = failed or any(line.startswith("FAIL") for line in lines)
    return int(failed)
