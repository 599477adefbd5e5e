"""Hands of people who are followed: where each is looked for, and what MediaPipe's hand landmark network reads there.

Source: mediapipe/modules/holistic_landmark (hand_landmarks_from_pose_to_recrop_roi.pbtxt and its calculators) for the region that a body's
landmarks give, mediapipe/modules/hand_landmark (hand_landmark_landmarks_to_roi.pbtxt, hand_landmark_cpu.pbtxt) for the region that a hand's
own landmarks give and for the reading; Zhang et al. 2020, "MediaPipe Hands".
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from body4d.core.joints import Blazepose33 as J
from body4d.core.joints import Hand21 as H
from body4d.models.blazepose.roi import RotatedRoi

INPUT_PX = 224
"""Side of the network's square input."""
MIN_ROI_SIDE_PX = 56.0
"""A region is about half a metre wide and a finger 16 to 20 mm thick, so in a smaller region a finger has less than two pixels."""
MIN_PRESENCE = 0.5
"""Where the network is less sure that a hand is there, there is none (ThresholdingCalculator)."""
MIN_CANDIDATE_PRESENCE = 0.1
"""A body's region is rough (MediaPipe has a network to correct it), so what is surer than this in it is read again in the region of its own
landmarks. On a clip of large hands that raised the share of hands seen from 57 to 78 %."""
MIN_WRIST_VISIBILITY = 0.1
"""Wrists that are less visible to BlazePose are not looked at (hand_visibility_from_hand_landmarks_from_pose.pbtxt)."""
POSE_MARGIN, HAND_MARGIN = 2.7, 2.0
"""A region's side by the box it comes from (RectTransformationCalculator.scale_x)."""
TOWARDS_FINGERS = 0.1
"""By this share of its box a region is shifted from the wrist towards the fingers (shift_y)."""
MAX_DRIFT_SHARE = 0.25
"""A hand's own region has left the body's hand where their centres are farther apart than this share of the larger side."""
MAX_SIZE_RATIO = 2.0
"""The same where their sides differ by more than this factor."""
LOST_HAND_S, SEARCH_EVERY_S = 0.1, 0.15
"""A hand that was not seen for longer is looked for this often only: hands that are too blurred or hidden now are so on most frames."""
SAME_HAND_SHARE = 0.25
"""Two readings whose landmarks are closer than this share of a hand's length, in the mean, are of one hand."""

_PALM = np.array([H.WRIST, H.THUMB_CMC, H.THUMB_MCP, H.THUMB_IP, H.INDEX_MCP, H.INDEX_PIP, H.MIDDLE_MCP, H.MIDDLE_PIP,
                  H.RING_MCP, H.RING_PIP, H.PINKY_MCP, H.PINKY_PIP])  # fmt: skip
"""Landmarks around which a region is laid: fingertips come and go."""
_SIDES = ((J.LEFT_WRIST, J.LEFT_INDEX, J.LEFT_PINKY), (J.RIGHT_WRIST, J.RIGHT_INDEX, J.RIGHT_PINKY))


@dataclass(frozen=True)
class HandDetection:
    """One hand as the network reads it in one region.

    Attributes:
        points_px: Hand21 landmarks in picture pixels.
        world_m: Metric landmarks about the middle of the hand, in axes like the camera's.
        score: Probability that a hand is there.
        right_probability: Probability that it is a right hand.
    """

    points_px: Float[np.ndarray, "21 2"]
    world_m: Float[np.ndarray, "21 3"]
    score: float
    right_probability: float

    @property
    def length_px(self) -> float:
        """From the wrist to the middle finger's knuckle."""
        return float(np.linalg.norm(self.points_px[H.MIDDLE_MCP] - self.points_px[H.WRIST]))

    def side_probability(self, side: int) -> float:
        """Probability that it is a hand of ``side``: 0 left, 1 right."""
        return self.right_probability if side else 1 - self.right_probability


Hands = tuple[HandDetection | None, HandDetection | None]
"""A person's left and right hand on one frame."""


@dataclass
class HandSearch:
    """When a hand was seen last, and when it was looked for."""

    seen_s: float = -np.inf
    read_s: float = -np.inf

    def is_due(self, now_s: float) -> bool:
        """Whether it is worth looking for the hand now."""
        return now_s - self.seen_s <= LOST_HAND_S or now_s - self.read_s >= SEARCH_EVERY_S


def roi_from_body(points_px: Float[np.ndarray, "33 2"], side: int) -> RotatedRoi:
    """The region of the hand of ``side`` (0 left, 1 right) that a body's landmarks give: around the middle finger's knuckle."""
    wrist, index, pinky = points_px[list(_SIDES[side])]
    middle = (2 * index + pinky) / 3
    box = 2 * float(np.hypot(*(middle - wrist)))
    return _region(middle, box, box * POSE_MARGIN, middle - wrist)


def roi_from_hand(points_px: Float[np.ndarray, "21 2"]) -> RotatedRoi:
    """The region that a hand's own landmarks give: the box around its palm, turned so that the fingers point up."""
    palm = points_px[_PALM]
    towards = (points_px[H.INDEX_PIP] + points_px[H.RING_PIP]) / 4 + points_px[H.MIDDLE_PIP] / 2 - points_px[H.WRIST]
    up = towards / max(float(np.hypot(*towards)), 1e-6)
    axes = np.stack([[-up[1], up[0]], -up])  # right and down in the region
    at = palm @ axes.T
    low, high = at.min(0), at.max(0)
    width, height = high - low
    return _region((low + high) / 2 @ axes, float(height), float(max(width, height)) * HAND_MARGIN, towards)


def _region(centre: np.ndarray, box_height: float, side: float, up: np.ndarray) -> RotatedRoi:
    length = max(float(np.hypot(*up)), 1e-6)
    x, y = centre + TOWARDS_FINGERS * box_height * up / length
    return RotatedRoi(float(x), float(y), side, float(np.arctan2(up[0], -up[1])))


@dataclass(frozen=True)
class HandRegion:
    """Where the hand of ``side`` (0 left, 1 right) is read: ``roi`` is the body's region, or follows the hand of the frame before."""

    side: int
    roi: RotatedRoi
    body_roi: RotatedRoi

    @property
    def follows(self) -> bool:
        return self.roi is not self.body_roi

    def is_seen(self, hand: HandDetection | None) -> bool:
        """Whether what was read is a hand, and that of this body."""
        return hand is not None and hand.score > MIN_PRESENCE and _agree(roi_from_hand(hand.points_px), self.body_roi)


def regions(
    points_px: Float[np.ndarray, "33 2"],
    visibility: Float[np.ndarray, " 33"],
    last_points_px: Float[np.ndarray, "33 2"] | None,
    last_hands: Hands,
) -> list[HandRegion]:
    """Where a person's hands are read on a frame.

    A hand is followed in the region of its own landmarks, moved as its wrist has moved, unless that has left the body's hand.
    """
    found = []
    for side, (wrist, _, _) in enumerate(_SIDES):
        body_roi, last = roi_from_body(points_px, side), last_hands[side]
        if visibility[wrist] < MIN_WRIST_VISIBILITY or not body_roi.side_px >= 1:
            continue
        roi = body_roi
        if last is not None and last_points_px is not None:
            own = roi_from_hand(last.points_px).shifted(points_px[wrist] - last_points_px[wrist])
            roi = own if _agree(own, body_roi) else roi
        if roi.side_px >= MIN_ROI_SIDE_PX:
            found.append(HandRegion(side, roi, body_roi))
    return found


def _agree(own: RotatedRoi, body: RotatedRoi) -> bool:
    apart = np.hypot(own.x_px - body.x_px, own.y_px - body.y_px) / max(own.side_px, body.side_px)
    return bool(apart < MAX_DRIFT_SHARE and max(own.side_px, body.side_px) < MAX_SIZE_RATIO * min(own.side_px, body.side_px))


def without_doubles(hands: Hands) -> Hands:
    """``hands`` without the less likely of two readings of one hand, as of hands on one grip of which one hides the other."""
    left, right = hands
    if left is None or right is None:
        return hands
    apart = float(np.linalg.norm(left.points_px - right.points_px, axis=1).mean())
    if apart > SAME_HAND_SHARE * 2 * max(left.length_px, right.length_px):  # a hand is twice as long as its palm
        return hands
    return (left, None) if left.score * left.side_probability(0) >= right.score * right.side_probability(1) else (None, right)


def decode(
    points: Float32[np.ndarray, "21 3"], presence: float, right_probability: float, world_m: Float32[np.ndarray, "21 3"], roi: RotatedRoi
) -> HandDetection | None:
    """The hand in a region, from the network's four outputs, however sure; None where they are no numbers."""
    if not (np.isfinite(points).all() and np.isfinite(world_m).all()):
        return None
    cos, sin = np.cos(roi.angle), np.sin(roi.angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    points_px = (points[:, :2].astype(np.float64) / INPUT_PX - 0.5) @ turn.T * roi.side_px + (roi.x_px, roi.y_px)
    world = world_m.astype(np.float64)
    world = np.concatenate([world[:, :2] @ turn.T, world[:, 2:]], axis=1)
    return HandDetection(points_px, world, presence, right_probability)
