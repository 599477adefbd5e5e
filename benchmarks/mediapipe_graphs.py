"""MediaPipe's own graphs of bodies and hands on pictures and regions given in a file; run by parity_blazepose.py in MediaPipe's Python.

    MEDIAPIPE_PYTHON benchmarks/mediapipe_graphs.py QUESTIONS.npz ANSWERS.npz COMPLEXITY

Needs mediapipe 0.10.21 and numpy alone, so it imports nothing of body4d. ``mediapipe.solutions.pose`` would not do: it loses an option of
one calculator on the way through Python (the kernel that refines landmarks from heat maps), and its landmarks differ by about a hundredth
of the body's height from those of the C++ graphs that are run here.
"""

import os
import sys
from typing import Any

import mediapipe
import mediapipe.python.solutions.pose  # options of the graphs' calculators are read through it
import numpy as np
from mediapipe.framework.formats import rect_pb2
from mediapipe.python import packet_creator, packet_getter
from mediapipe.python._framework_bindings import calculator_graph, image_frame, resource_util

DETECTION = """
input_stream: "image"
node { calculator: "PoseDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:detections" }
"""
LANDMARKS = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "complexity"
input_side_packet: "segment"
node {
  calculator: "PoseLandmarkByRoiCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "MODEL_COMPLEXITY:complexity"
  input_side_packet: "ENABLE_SEGMENTATION:segment"
  output_stream: "LANDMARKS:landmarks"
  output_stream: "AUXILIARY_LANDMARKS:alignment"
  output_stream: "WORLD_LANDMARKS:world"
  output_stream: "SEGMENTATION_MASK:mask_image"
}
node { calculator: "FromImageCalculator" input_stream: "IMAGE:mask_image" output_stream: "IMAGE_CPU:mask" }
"""
HANDS = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "complexity"
node {
  calculator: "HandLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "MODEL_COMPLEXITY:complexity"
  output_stream: "LANDMARKS:landmarks"
  output_stream: "WORLD_LANDMARKS:world"
  output_stream: "HANDEDNESS:handedness"
}
"""


class Graph:
    """A running graph; one answer for each question."""

    def __init__(self, text: str, streams: tuple[str, ...], side_packets: dict[str, Any]) -> None:
        self._graph = calculator_graph.CalculatorGraph(graph_config=text)
        self._answer: dict[str, Any] = {}
        self._stamp = 0
        for stream in streams:
            self._graph.observe_output_stream(stream, self._answer.__setitem__)
        self._graph.start_run(side_packets)

    def __call__(self, **packets: Any) -> dict[str, Any]:
        self._answer.clear()
        self._stamp += 1
        for stream, packet in packets.items():
            self._graph.add_packet_to_input_stream(stream=stream, packet=packet.at(self._stamp))
        self._graph.wait_until_idle()
        return dict(self._answer)


def picture(rgb: np.ndarray) -> Any:
    return packet_creator.create_image_frame(data=np.ascontiguousarray(rgb), image_format=image_frame.ImageFormat.SRGB)


def detect(graph: Graph, rgb: np.ndarray, tile: np.ndarray) -> list[list[float]]:
    """Alignment points in picture pixels and score of everybody in a tile."""
    x0, y0, x1, y1 = tile
    answer = graph(image=picture(rgb[y0:y1, x0:x1]))
    found = packet_getter.get_proto_list(answer["detections"]) if "detections" in answer else []
    size, corner = (x1 - x0, y1 - y0), (x0, y0)
    points = [[(k.x * size[0] + corner[0], k.y * size[1] + corner[1]) for k in d.location_data.relative_keypoints[:2]] for d in found]
    return [[*np.ravel(pair), d.score[0]] for pair, d in zip(points, found, strict=True)]


def ask_region(graph: Graph, rgb: np.ndarray, region: np.ndarray) -> dict[str, Any]:
    """The answer for a region (x, y, side in pixels, angle) of the whole picture."""
    (x, y, side, angle), (height, width) = region, rgb.shape[:2]
    rect = rect_pb2.NormalizedRect(x_center=x / width, y_center=y / height, width=side / width, height=side / height, rotation=angle)
    return graph(image=picture(rgb), roi=packet_creator.create_proto(rect))


def read_hand(graph: Graph, rgb: np.ndarray, region: np.ndarray) -> dict[str, np.ndarray]:
    """What the graph of hand landmarks says of a region; nothing where there is no hand."""
    answer, (height, width) = ask_region(graph, rgb, region), rgb.shape[:2]
    if "landmarks" not in answer:
        return {}
    best = packet_getter.get_proto(answer["handedness"]).classification[0]
    return {
        "hand_points_px": np.array([(p.x * width, p.y * height) for p in packet_getter.get_proto(answer["landmarks"]).landmark]),
        "hand_world_m": np.array([(p.x, p.y, p.z) for p in packet_getter.get_proto(answer["world"]).landmark]),
        # Labels are those of a mirrored picture, as of a camera that looks at its user.
        "hand_right_probability": np.array(best.score if best.label == "Left" else 1 - best.score),
    }


def read_region(graph: Graph, rgb: np.ndarray, region: np.ndarray) -> dict[str, np.ndarray]:
    """What the landmark graph says of a region; nothing where nobody is there."""
    answer, (height, width) = ask_region(graph, rgb, region), rgb.shape[:2]
    if "landmarks" not in answer:
        return {}
    landmarks = packet_getter.get_proto(answer["landmarks"]).landmark
    alignment = packet_getter.get_proto(answer["alignment"]).landmark
    world = packet_getter.get_proto(answer["world"]).landmark
    return {
        "points_px": np.array([(p.x * width, p.y * height) for p in landmarks]),
        "depth_px": np.array([p.z * width for p in landmarks]),
        "visibility": np.array([p.visibility for p in landmarks]),
        "world_m": np.array([(p.x, p.y, p.z) for p in world]),
        "alignment_px": np.array([(p.x * width, p.y * height) for p in alignment]),
        "mask": np.array(packet_getter.get_image_frame(answer["mask"]).numpy_view(), np.float32).reshape(height, width),
    }


def main(questions: str, answers: str, complexity: int) -> None:
    resource_util.set_resource_dir(os.path.dirname(os.path.dirname(mediapipe.__file__)))
    asked = np.load(questions)
    detection = Graph(DETECTION, ("detections",), {})
    side = {"complexity": packet_creator.create_int(complexity), "segment": packet_creator.create_bool(True)}
    landmarks = Graph(LANDMARKS, ("landmarks", "alignment", "world", "mask"), side)
    hands = Graph(HANDS, ("landmarks", "world", "handedness"), {"complexity": packet_creator.create_int(1)})
    given: dict[str, np.ndarray] = {}
    for n in range(int(asked["num_pictures"])):
        rgb = asked[f"rgb_{n}"]
        for k, tile in enumerate(asked[f"tiles_{n}"]):
            given[f"detections_{n}_{k}"] = np.array(detect(detection, rgb, tile)).reshape(-1, 5)
        for k, region in enumerate(asked[f"regions_{n}"]):
            given.update({f"{name}_{n}_{k}": value for name, value in read_region(landmarks, rgb, region).items()})
        for k, region in enumerate(asked[f"hand_regions_{n}"]):
            given.update({f"{name}_{n}_{k}": value for name, value in read_hand(hands, rgb, region).items()})
    np.savez_compressed(answers, **given)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
