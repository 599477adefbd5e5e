"""MediaPipe's own BlazePose graphs, driven region by region so that several people can be followed.

``mediapipe.solutions.pose`` finds one person. Its parts serve for many: ``PoseDetectionCpu`` finds people in a tile of the picture, and
``PoseLandmarkByRoiCpu`` reads the landmarks and the mask of the one person in a rotated square region (Bazarevsky et al. 2020, "BlazePose:
On-device Real-time Body Pose Tracking").

``mediapipe.solutions.pose`` loses the options of one calculator on the way through Python (the kernel that refines landmarks from heat
maps), so its landmarks differ from these by about a hundredth of the body's height; these are those of MediaPipe's own C++ graph.
"""

import contextlib
import dataclasses
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from body4d.core.errors import MissingDependencyError
from body4d.models.blazepose.roi import Region

_LANDMARK_GRAPH = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "model_complexity"
input_side_packet: "enable_segmentation"
node {
  calculator: "PoseLandmarkByRoiCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "MODEL_COMPLEXITY:model_complexity"
  input_side_packet: "ENABLE_SEGMENTATION:enable_segmentation"
  output_stream: "LANDMARKS:landmarks"
  output_stream: "AUXILIARY_LANDMARKS:alignment"
  output_stream: "WORLD_LANDMARKS:world"
  output_stream: "SEGMENTATION_MASK:mask_image"
}
node { calculator: "FromImageCalculator" input_stream: "IMAGE:mask_image" output_stream: "IMAGE_CPU:mask" }
"""
_DETECTION_GRAPH = """
input_stream: "image"
node { calculator: "PoseDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:detections" }
"""
_MODEL_FULL = 1  # the one landmark model inside the wheel
_NOISE = re.compile(rb"^(INFO: Created TensorFlow|WARNING: All log messages before absl|[IWEF]\d{4} \d\d:\d\d:|[IWEF]\d{4} \d\d\d\d:)")


@dataclass(frozen=True)
class Sighting:
    """One person seen in one region. ``strength`` (h, w) float32 in [0, 1] is the mask inside the picture box ``box_px``."""

    points_px: np.ndarray
    depth_px: np.ndarray
    world_m: np.ndarray
    visibility: np.ndarray
    alignment_px: np.ndarray
    strength: np.ndarray
    box_px: tuple[int, int, int, int]

    def without_mask(self) -> "Sighting":
        """The same without its mask, which is too large to keep for every frame."""
        return dataclasses.replace(self, strength=np.zeros((0, 0), np.float32))


class PoseGraphs:
    """The two graphs, each ``lanes`` times so that as many cores work at once; all calls from one thread. A context manager."""

    def __init__(self, lanes: int = 2) -> None:
        self._loud = True
        with quiet_stderr():
            self._mp = _Mediapipe.load()
            packets = self._mp.packet_creator
            side = {"model_complexity": packets.create_int(_MODEL_FULL), "enable_segmentation": packets.create_bool(True)}
            streams = ("landmarks", "alignment", "world", "mask")
            self._landmark_lanes = [_Lane(self._mp, _LANDMARK_GRAPH, streams, side) for _ in range(lanes)]
            self._detection_lanes = [_Lane(self._mp, _DETECTION_GRAPH, ("detections",), {}) for _ in range(lanes)]

    def __enter__(self) -> "PoseGraphs":
        return self

    def __exit__(self, *_: object) -> None:
        for lane in (*self._landmark_lanes, *self._detection_lanes):
            lane.close()

    def detect(self, rgb: np.ndarray, tiles: Sequence[tuple[int, int, int, int]]) -> list[Region]:
        """People in the given tiles (x0, y0, x1, y1) of a picture, as regions in picture pixels; one person may come more than once."""
        inputs = [{"image": self._image(rgb[y0:y1, x0:x1])} for x0, y0, x1, y1 in tiles]
        regions: list[Region] = []
        for (x0, y0, x1, y1), out in zip(tiles, self._work(self._detection_lanes, inputs), strict=True):
            if "detections" not in out:
                continue
            for found in self._mp.packet_getter.get_proto_list(out["detections"]):
                keypoints = found.location_data.relative_keypoints[:2]
                alignment = np.array([[k.x, k.y] for k in keypoints]) * (x1 - x0, y1 - y0) + (x0, y0)
                regions.append(Region.from_alignment(alignment, float(found.score[0])))
        return regions

    def landmarks(self, rgb: np.ndarray, regions: Sequence[Region]) -> list[Sighting | None]:
        """Who is seen in each region; None where nobody is."""
        height, width = rgb.shape[:2]
        boxes = [region.bounds_px(width, height) for region in regions]
        inside = [i for i, (x0, y0, x1, y1) in enumerate(boxes) if x1 > x0 and y1 > y0 and regions[i].side_px >= 1]
        inputs = [self._region_packets(rgb, regions[i], boxes[i]) for i in inside]
        sightings: list[Sighting | None] = [None] * len(regions)
        for i, out in zip(inside, self._work(self._landmark_lanes, inputs), strict=True):
            sightings[i] = self._sighting(out, boxes[i])
        return sightings

    def _region_packets(self, rgb: np.ndarray, region: Region, box: tuple[int, int, int, int]) -> dict[str, Any]:
        # Cutting first keeps the mask, which comes back at the size of the picture put in, as small as the person.
        x0, y0, x1, y1 = box
        rect = self._mp.NormalizedRect(
            x_center=(region.x_px - x0) / (x1 - x0),
            y_center=(region.y_px - y0) / (y1 - y0),
            width=region.side_px / (x1 - x0),
            height=region.side_px / (y1 - y0),
            rotation=region.angle,
        )
        return {"image": self._image(rgb[y0:y1, x0:x1]), "roi": self._mp.packet_creator.create_proto(rect)}

    def _sighting(self, out: dict[str, Any], box: tuple[int, int, int, int]) -> Sighting | None:
        if "landmarks" not in out or "mask" not in out:
            return None
        getter, (x0, y0, x1, y1) = self._mp.packet_getter, box
        size = np.array([x1 - x0, y1 - y0], dtype=np.float64)
        seen = np.array([[p.x, p.y, p.z, p.visibility] for p in getter.get_proto(out["landmarks"]).landmark])
        world = np.array([[p.x, p.y, p.z] for p in getter.get_proto(out["world"]).landmark])
        alignment = np.array([[p.x, p.y] for p in getter.get_proto(out["alignment"]).landmark])
        if not (np.all(np.isfinite(seen)) and np.all(np.isfinite(world)) and np.all(np.isfinite(alignment))):
            return None
        return Sighting(
            points_px=seen[:, :2] * size + (x0, y0),
            depth_px=seen[:, 2] * size[0],  # BlazePose counts depth in picture widths
            world_m=world,
            visibility=np.clip(seen[:, 3], 0, 1),
            alignment_px=alignment[:2] * size + (x0, y0),
            strength=np.array(getter.get_image_frame(out["mask"]).numpy_view(), dtype=np.float32).reshape(y1 - y0, x1 - x0),
            box_px=box,
        )

    def _image(self, rgb: np.ndarray) -> Any:
        return self._mp.packet_creator.create_image_frame(data=np.ascontiguousarray(rgb), image_format=self._mp.srgb)

    def _work(self, lanes: Sequence["_Lane"], inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Share the inputs out among the lanes in turn; every lane works on its own threads until all are done."""
        with quiet_stderr() if self._loud and inputs else contextlib.nullcontext():
            stamps = [lanes[i % len(lanes)].put(packets) for i, packets in enumerate(inputs)]
            for lane in lanes:
                lane.finish()
            results = [lanes[i % len(lanes)].take(stamp) for i, stamp in enumerate(stamps)]
        if any("landmarks" in out for out in results):
            self._loud = False  # each of MediaPipe's remarks is made once, the last of them with the first landmarks
        return results


class _Lane:
    """One running graph. Results are kept by the time stamp of their input."""

    def __init__(self, mp: "_Mediapipe", graph: str, streams: Sequence[str], side_packets: dict[str, Any]) -> None:
        self._graph = mp.CalculatorGraph(graph_config=graph)
        self._results: dict[int, dict[str, Any]] = {}
        self._stamp = 0
        for stream in streams:
            self._graph.observe_output_stream(stream, self._keep)
        self._graph.start_run(side_packets)
        self._graph.wait_until_idle()  # the models load, and log, in the background

    def _keep(self, stream: str, packet: Any) -> None:
        self._results.setdefault(packet.timestamp.value, {})[stream] = packet

    def put(self, packets: dict[str, Any]) -> int:
        self._stamp += 1
        for stream, packet in packets.items():
            self._graph.add_packet_to_input_stream(stream=stream, packet=packet.at(self._stamp))
        return self._stamp

    def finish(self) -> None:
        self._graph.wait_until_idle()

    def take(self, stamp: int) -> dict[str, Any]:
        return self._results.pop(stamp, {})

    def close(self) -> None:
        self._graph.close()


@dataclass(frozen=True)
class _Mediapipe:
    """The few names of mediapipe that the graphs need."""

    CalculatorGraph: Any
    NormalizedRect: Any
    packet_creator: Any
    packet_getter: Any
    srgb: Any

    @staticmethod
    def load() -> "_Mediapipe":
        """Import mediapipe and tell it where its models lie.

        Raises MissingDependencyError where it is not installed, cannot be on this Python, or lacks a system library.
        """
        try:
            package = importlib.import_module("mediapipe")
            bindings = importlib.import_module("mediapipe.python._framework_bindings")
            # Options of the graphs' calculators are read through these modules as a side effect of importing the ready-made solution.
            importlib.import_module("mediapipe.python.solutions.pose")
            rect = importlib.import_module("mediapipe.framework.formats.rect_pb2")
            creator = importlib.import_module("mediapipe.python.packet_creator")
            getter = importlib.import_module("mediapipe.python.packet_getter")
        except ImportError as error:
            raise MissingDependencyError(missing_message(error, sys.version_info[:2])) from error
        site_packages = os.path.dirname(os.path.dirname(package.__file__ or ""))
        bindings.resource_util.set_resource_dir(site_packages)
        graph = bindings.calculator_graph.CalculatorGraph
        return _Mediapipe(graph, rect.NormalizedRect, creator, getter, bindings.image_frame.ImageFormat.SRGB)


def missing_message(error: ImportError, python: tuple[int, int]) -> str:
    """One sentence for a failed import of mediapipe on Python ``python`` (major, minor): what is missing and what to do."""
    if "libGL" in str(error) or "libgthread" in str(error):
        return (
            f"The preset lite needs OpenCV, which could not load a system library ({error}); "
            "run: pip uninstall -y opencv-contrib-python opencv-python && pip install opencv-python-headless"
        )
    found = f"this is Python {python[0]}.{python[1]}"
    if python >= (3, 13):
        return (
            f"The preset lite needs mediapipe 0.10.21, which has no wheel for Python 3.13 and later, and {found}; "
            "make an environment with Python 3.10 to 3.12 and run there: pip install 'body4d[lite]'"
        )
    return f"The preset lite needs mediapipe 0.10.21, and it could not be imported ({error}; {found}); run: pip install 'body4d[lite]'"


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold standard error back while MediaPipe's C++ code starts, drop its log lines, and pass everything else on.

    Its libraries write to file descriptor 2 before any Python-side switch reaches them, so the descriptor itself is turned aside for
    these moments. Lines of anybody else are written out on leaving, also after an error.
    """
    try:
        saved = os.dup(2)
    except OSError:  # no standard error at all (a daemon): nothing to hold back
        yield
        return
    try:
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(saved, 2)
                held.seek(0)
                for line in held.read().splitlines(keepends=True):
                    if not _NOISE.match(line):
                        os.write(2, line)
    finally:
        os.close(saved)
