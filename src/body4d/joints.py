"""Named joint sets. A joint is spoken of by its name, never by a bare number."""

from enum import IntEnum


class Coco17(IntEnum):
    """The 17 keypoints of COCO (Lin et al. 2014), in COCO's order. Left and right are the person's own."""

    NOSE = 0
    LEFT_EYE = 1
    RIGHT_EYE = 2
    LEFT_EAR = 3
    RIGHT_EAR = 4
    LEFT_SHOULDER = 5
    RIGHT_SHOULDER = 6
    LEFT_ELBOW = 7
    RIGHT_ELBOW = 8
    LEFT_WRIST = 9
    RIGHT_WRIST = 10
    LEFT_HIP = 11
    RIGHT_HIP = 12
    LEFT_KNEE = 13
    RIGHT_KNEE = 14
    LEFT_ANKLE = 15
    RIGHT_ANKLE = 16


class Body29(IntEnum):
    """COCO-17, the six foot points of COCO-WholeBody (Jin et al. 2020), and three knuckles of each hand as BlazePose marks them."""

    NOSE = 0
    LEFT_EYE = 1
    RIGHT_EYE = 2
    LEFT_EAR = 3
    RIGHT_EAR = 4
    LEFT_SHOULDER = 5
    RIGHT_SHOULDER = 6
    LEFT_ELBOW = 7
    RIGHT_ELBOW = 8
    LEFT_WRIST = 9
    RIGHT_WRIST = 10
    LEFT_HIP = 11
    RIGHT_HIP = 12
    LEFT_KNEE = 13
    RIGHT_KNEE = 14
    LEFT_ANKLE = 15
    RIGHT_ANKLE = 16
    LEFT_BIG_TOE = 17
    LEFT_SMALL_TOE = 18
    LEFT_HEEL = 19
    RIGHT_BIG_TOE = 20
    RIGHT_SMALL_TOE = 21
    RIGHT_HEEL = 22
    LEFT_THUMB = 23
    LEFT_INDEX = 24
    LEFT_PINKY = 25
    RIGHT_THUMB = 26
    RIGHT_INDEX = 27
    RIGHT_PINKY = 28


class Blazepose33(IntEnum):
    """The 33 landmarks of BlazePose GHUM (Bazarevsky et al. 2020), in its order."""

    NOSE = 0
    LEFT_EYE_INNER = 1
    LEFT_EYE = 2
    LEFT_EYE_OUTER = 3
    RIGHT_EYE_INNER = 4
    RIGHT_EYE = 5
    RIGHT_EYE_OUTER = 6
    LEFT_EAR = 7
    RIGHT_EAR = 8
    MOUTH_LEFT = 9
    MOUTH_RIGHT = 10
    LEFT_SHOULDER = 11
    RIGHT_SHOULDER = 12
    LEFT_ELBOW = 13
    RIGHT_ELBOW = 14
    LEFT_WRIST = 15
    RIGHT_WRIST = 16
    LEFT_PINKY = 17
    RIGHT_PINKY = 18
    LEFT_INDEX = 19
    RIGHT_INDEX = 20
    LEFT_THUMB = 21
    RIGHT_THUMB = 22
    LEFT_HIP = 23
    RIGHT_HIP = 24
    LEFT_KNEE = 25
    RIGHT_KNEE = 26
    LEFT_ANKLE = 27
    RIGHT_ANKLE = 28
    LEFT_HEEL = 29
    RIGHT_HEEL = 30
    LEFT_BIG_TOE = 31
    RIGHT_BIG_TOE = 32


JOINT_SETS: dict[str, type[IntEnum]] = {"coco17": Coco17, "body29": Body29, "blazepose33": Blazepose33}


def joint_names(joint_set: str) -> tuple[str, ...]:
    """Lower-case names of a joint set in order, such as ``left_wrist``; ``joint_set`` is a key of :data:`JOINT_SETS`."""
    return tuple(joint.name.lower() for joint in JOINT_SETS[joint_set])
