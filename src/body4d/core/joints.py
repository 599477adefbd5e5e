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


class Hand21(IntEnum):
    """The 21 landmarks of MediaPipe's hand model (Zhang et al. 2020), in its order: the wrist, then four of each finger from its root on.

    A thumb has a carpometacarpal (CMC), a metacarpophalangeal (MCP) and one interphalangeal joint (IP); a finger its knuckle (MCP), a
    proximal (PIP) and a distal one (DIP).
    """

    WRIST = 0
    THUMB_CMC = 1
    THUMB_MCP = 2
    THUMB_IP = 3
    THUMB_TIP = 4
    INDEX_MCP = 5
    INDEX_PIP = 6
    INDEX_DIP = 7
    INDEX_TIP = 8
    MIDDLE_MCP = 9
    MIDDLE_PIP = 10
    MIDDLE_DIP = 11
    MIDDLE_TIP = 12
    RING_MCP = 13
    RING_PIP = 14
    RING_DIP = 15
    RING_TIP = 16
    PINKY_MCP = 17
    PINKY_PIP = 18
    PINKY_DIP = 19
    PINKY_TIP = 20


class Mhr70(IntEnum):
    """The 70 keypoints of SAM-3D-Body (Yang et al. 2025), in its order; not COCO's: hips come before wrists, wrists after the hands.

    A finger's joints are counted from its tip: first is the one next to the tip, third the knuckle (of the thumb, the one at the wrist).
    The olecranon is the elbow's tip, the cubital fossa its inner bend, the acromion the bony top of the shoulder.
    """

    NOSE = 0
    LEFT_EYE = 1
    RIGHT_EYE = 2
    LEFT_EAR = 3
    RIGHT_EAR = 4
    LEFT_SHOULDER = 5
    RIGHT_SHOULDER = 6
    LEFT_ELBOW = 7
    RIGHT_ELBOW = 8
    LEFT_HIP = 9
    RIGHT_HIP = 10
    LEFT_KNEE = 11
    RIGHT_KNEE = 12
    LEFT_ANKLE = 13
    RIGHT_ANKLE = 14
    LEFT_BIG_TOE = 15
    LEFT_SMALL_TOE = 16
    LEFT_HEEL = 17
    RIGHT_BIG_TOE = 18
    RIGHT_SMALL_TOE = 19
    RIGHT_HEEL = 20
    RIGHT_THUMB_TIP = 21
    RIGHT_THUMB_FIRST = 22
    RIGHT_THUMB_SECOND = 23
    RIGHT_THUMB_THIRD = 24
    RIGHT_INDEX_TIP = 25
    RIGHT_INDEX_FIRST = 26
    RIGHT_INDEX_SECOND = 27
    RIGHT_INDEX_THIRD = 28
    RIGHT_MIDDLE_TIP = 29
    RIGHT_MIDDLE_FIRST = 30
    RIGHT_MIDDLE_SECOND = 31
    RIGHT_MIDDLE_THIRD = 32
    RIGHT_RING_TIP = 33
    RIGHT_RING_FIRST = 34
    RIGHT_RING_SECOND = 35
    RIGHT_RING_THIRD = 36
    RIGHT_PINKY_TIP = 37
    RIGHT_PINKY_FIRST = 38
    RIGHT_PINKY_SECOND = 39
    RIGHT_PINKY_THIRD = 40
    RIGHT_WRIST = 41
    LEFT_THUMB_TIP = 42
    LEFT_THUMB_FIRST = 43
    LEFT_THUMB_SECOND = 44
    LEFT_THUMB_THIRD = 45
    LEFT_INDEX_TIP = 46
    LEFT_INDEX_FIRST = 47
    LEFT_INDEX_SECOND = 48
    LEFT_INDEX_THIRD = 49
    LEFT_MIDDLE_TIP = 50
    LEFT_MIDDLE_FIRST = 51
    LEFT_MIDDLE_SECOND = 52
    LEFT_MIDDLE_THIRD = 53
    LEFT_RING_TIP = 54
    LEFT_RING_FIRST = 55
    LEFT_RING_SECOND = 56
    LEFT_RING_THIRD = 57
    LEFT_PINKY_TIP = 58
    LEFT_PINKY_FIRST = 59
    LEFT_PINKY_SECOND = 60
    LEFT_PINKY_THIRD = 61
    LEFT_WRIST = 62
    LEFT_OLECRANON = 63
    RIGHT_OLECRANON = 64
    LEFT_CUBITAL_FOSSA = 65
    RIGHT_CUBITAL_FOSSA = 66
    LEFT_ACROMION = 67
    RIGHT_ACROMION = 68
    NECK = 69


JOINT_SETS: dict[str, type[IntEnum]] = {"coco17": Coco17, "body29": Body29, "blazepose33": Blazepose33, "hand21": Hand21, "mhr70": Mhr70}


def joint_names(joint_set: str) -> tuple[str, ...]:
    """Lower-case names of a joint set in order, such as ``left_wrist``; ``joint_set`` is a key of ``JOINT_SETS``."""
    return tuple(joint.name.lower() for joint in JOINT_SETS[joint_set])
