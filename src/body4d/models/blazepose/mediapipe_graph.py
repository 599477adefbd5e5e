"""MediaPipe's own BlazePose graphs, run region by region so that several people can be followed.

``mediapipe.solutions.pose`` finds one person. Two of its subgraphs serve for many: ``PoseDetectionCpu`` finds people in a tile of the
picture, and ``PoseLandmarkByRoiCpu`` reads the landmarks and the mask of the one person in a rotated square region (Bazarevsky et al.
2020, "BlazePose: On-device Real-time Body Pose Tracking").

``mediapipe.solutions.pose`` loses the options of one calculator on the way through Python (the kernel that refines landmarks from heat
maps), so its landmarks differ from these by about a hundredth of the body's height. These equal those of MediaPipe's own C++ graph.
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
from jaxtyping import Float, Float32, UInt8

from body4d.camera.motion import require_headless_opencv
from body4d.core.errors import MissingDependencyError
from body4d.models.blazepose.association import Box
from body4d.models.blazepose.roi import RotatedRoi

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
_FULL_MODEL = 1  # the one landmark model inside the wheel
_NATIVE_LOG_LINE = re.compile(
    rb"^(INFO: Created TensorFlow|WARNING: All log messages before absl|[IWEF]\d{4} \d\d:\d\d:|[IWEF]\d{4} \d\d\d\d:)"
)


@dataclass(frozen=True)
class PoseDetection:
    """One person as BlazePose reads them in one region.

    Attributes:
        points_px: Blazepose33 landmarks in picture pixels.
        depth_px: Depth of each landmark in pixels at the picture's scale, 0 at the hips, positive away from the camera.
        world_m: Metric landmarks, relative to the hips.
        visibility: Of each landmark, in [0, 1].
        alignment_px: Centre of the hips, and the point of the circle around the whole body that is above the head.
        mask_probability: How surely each pixel of ``box_px`` shows the person, in [0, 1].
        box_px: The part of the picture that holds the region.
    """

    points_px: Float[np.ndarray, "33 2"]
    depth_px: Float[np.ndarray, " 33"]
    world_m: Float[np.ndarray, "33 3"]
    visibility: Float[np.ndarray, " 33"]
    alignment_px: Float[np.ndarray, "2 2"]
    mask_probability: Float32[np.ndarray, "h w"]
    box_px: Box

    def without_mask(self) -> "PoseDetection":
        """The same without its mask, which is too large to keep for every frame."""
        return dataclasses.replace(self, mask_probability=np.zeros((0, 0), np.float32))


class PoseGraphs:
    """The two graphs, each ``num_workers`` times so that as many cores work at once; all calls from one thread. A context manager."""

    def __init__(self, num_workers: int = 2) -> None:
        self._may_log = True
        with suppress_native_logs():
            self._mp = _MediaPipe.load()
            packets = self._mp.packet_creator
            side = {"model_complexity": packets.create_int(_FULL_MODEL), "enable_segmentation": packets.create_bool(True)}
            streams = ("landmarks", "alignment", "world", "mask")
            self._landmark_workers = [_GraphWorker(self._mp, _LANDMARK_GRAPH, streams, side) for _ in range(num_workers)]
            self._detection_workers = [_GraphWorker(self._mp, _DETECTION_GRAPH, ("detections",), {}) for _ in range(num_workers)]

    def __enter__(self) -> "PoseGraphs":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self._landmark_workers, *self._detection_workers):
            worker.close()

    def detect(self, rgb: UInt8[np.ndarray, "h w 3"], tiles: Sequence[Box]) -> list[RotatedRoi]:
        """Regions of the people in the given tiles of a picture, in picture pixels; one person may come more than once."""
        inputs = [{"image": self._image(rgb[y0:y1, x0:x1])} for x0, y0, x1, y1 in tiles]
        rois: list[RotatedRoi] = []
        for (x0, y0, x1, y1), out in zip(tiles, self._run(self._detection_workers, inputs), strict=True):
            if "detections" not in out:
                continue
            for detection in self._mp.packet_getter.get_proto_list(out["detections"]):
                keypoints = detection.location_data.relative_keypoints[:2]
                alignment = np.array([[k.x, k.y] for k in keypoints]) * (x1 - x0, y1 - y0) + (x0, y0)
                rois.append(RotatedRoi.from_alignment(alignment, float(detection.score[0])))
        return rois

    def landmarks(self, rgb: UInt8[np.ndarray, "h w 3"], rois: Sequence[RotatedRoi]) -> list[PoseDetection | None]:
        """The person in each region; None where there is nobody."""
        height, width = rgb.shape[:2]
        boxes = [roi.bounds_px(width, height) for roi in rois]
        inside = [i for i, (x0, y0, x1, y1) in enumerate(boxes) if x1 > x0 and y1 > y0 and rois[i].side_px >= 1]
        inputs = [self._roi_packets(rgb, rois[i], boxes[i]) for i in inside]
        poses: list[PoseDetection | None] = [None] * len(rois)
        for i, out in zip(inside, self._run(self._landmark_workers, inputs), strict=True):
            poses[i] = self._pose_detection(out, boxes[i])
        return poses

    def _roi_packets(self, rgb: np.ndarray, roi: RotatedRoi, box: Box) -> dict[str, Any]:
        # Cropping first keeps the mask, which comes back at the size of the picture put in, as small as the person.
        x0, y0, x1, y1 = box
        rect = self._mp.NormalizedRect(
            x_center=(roi.x_px - x0) / (x1 - x0),
            y_center=(roi.y_px - y0) / (y1 - y0),
            width=roi.side_px / (x1 - x0),
            height=roi.side_px / (y1 - y0),
            rotation=roi.angle,
        )
        return {"image": self._image(rgb[y0:y1, x0:x1]), "roi": self._mp.packet_creator.create_proto(rect)}

    def _pose_detection(self, out: dict[str, Any], box: Box) -> PoseDetection | None:
        if "landmarks" not in out or "mask" not in out:
            return None
        getter, (x0, y0, x1, y1) = self._mp.packet_getter, box
        size = np.array([x1 - x0, y1 - y0], dtype=np.float64)
        landmarks = np.array([[p.x, p.y, p.z, p.visibility] for p in getter.get_proto(out["landmarks"]).landmark])
        world = np.array([[p.x, p.y, p.z] for p in getter.get_proto(out["world"]).landmark])
        alignment = np.array([[p.x, p.y] for p in getter.get_proto(out["alignment"]).landmark])
        if not (np.all(np.isfinite(landmarks)) and np.all(np.isfinite(world)) and np.all(np.isfinite(alignment))):
            return None
        mask = getter.get_image_frame(out["mask"]).numpy_view()
        return PoseDetection(
            points_px=landmarks[:, :2] * size + (x0, y0),
            depth_px=landmarks[:, 2] * size[0],  # BlazePose counts depth in picture widths
            world_m=world,
            visibility=np.clip(landmarks[:, 3], 0, 1),
            alignment_px=alignment[:2] * size + (x0, y0),
            mask_probability=np.array(mask, dtype=np.float32).reshape(y1 - y0, x1 - x0),
            box_px=box,
        )

    def _image(self, rgb: np.ndarray) -> Any:
        return self._mp.packet_creator.create_image_frame(data=np.ascontiguousarray(rgb), image_format=self._mp.srgb)

    def _run(self, workers: Sequence["_GraphWorker"], inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Deal the inputs out to the workers in turn, each of which computes on threads of its own, and wait for all outputs."""
        with suppress_native_logs() if self._may_log and inputs else contextlib.nullcontext():
            stamps = [workers[i % len(workers)].put(packets) for i, packets in enumerate(inputs)]
            for worker in workers:
                worker.wait()
            outputs = [workers[i % len(workers)].take(stamp) for i, stamp in enumerate(stamps)]
        if any("landmarks" in out for out in outputs):
            self._may_log = False  # MediaPipe logs each of its remarks once, the last of them with the first landmarks
        return outputs


class _GraphWorker:
    """One running graph. Outputs are kept by the time stamp of their input."""

    def __init__(self, mp: "_MediaPipe", graph: str, streams: Sequence[str], side_packets: dict[str, Any]) -> None:
        self._graph = mp.CalculatorGraph(graph_config=graph)
        self._outputs: dict[int, dict[str, Any]] = {}
        self._stamp = 0
        for stream in streams:
            self._graph.observe_output_stream(stream, self._keep)
        self._graph.start_run(side_packets)
        self._graph.wait_until_idle()  # the models load, and log, in the background

    def _keep(self, stream: str, packet: Any) -> None:
        self._outputs.setdefault(packet.timestamp.value, {})[stream] = packet

    def put(self, packets: dict[str, Any]) -> int:
        self._stamp += 1
        for stream, packet in packets.items():
            self._graph.add_packet_to_input_stream(stream=stream, packet=packet.at(self._stamp))
        return self._stamp

    def wait(self) -> None:
        self._graph.wait_until_idle()

    def take(self, stamp: int) -> dict[str, Any]:
        return self._outputs.pop(stamp, {})

    def close(self) -> None:
        self._graph.close()


@dataclass(frozen=True)
class _MediaPipe:
    """The few parts of the package ``mediapipe`` that the graphs need."""

    CalculatorGraph: Any
    NormalizedRect: Any
    packet_creator: Any
    packet_getter: Any
    srgb: Any

    @staticmethod
    def load() -> "_MediaPipe":
        """Import mediapipe and set the folder of its models.

        Raises MissingDependencyError where it is not installed, does not exist for this Python, or lacks a system library.
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
            if not isinstance(error, ModuleNotFoundError):  # It is installed, and a library does not load: mostly OpenCV's.
                require_headless_opencv()
            raise missing_mediapipe(error, sys.version_info[:2]) from error
        site_packages = os.path.dirname(os.path.dirname(package.__file__ or ""))
        bindings.resource_util.set_resource_dir(site_packages)
        graph = bindings.calculator_graph.CalculatorGraph
        return _MediaPipe(graph, rect.NormalizedRect, creator, getter, bindings.image_frame.ImageFormat.SRGB)


def missing_mediapipe(error: ImportError, python: tuple[int, int]) -> MissingDependencyError:
    """What a failed import of mediapipe on Python ``python`` (major, minor) means, and what to do about it."""
    version = f"{python[0]}.{python[1]}"
    if python >= (3, 13):
        return MissingDependencyError(
            f"Preset lite needs mediapipe 0.10.21, which has no wheel for Python 3.13 and later, and this is Python {version}.",
            code="python_too_new",
            hint="Make an environment with Python 3.11 or 3.12 and run there: pip install 'body4d[lite]'",
            python=version,
        )
    return MissingDependencyError(
        f"Preset lite needs mediapipe 0.10.21, and it could not be imported on Python {version}: {error}.",
        code="missing_package",
        hint="Run: pip install 'body4d[lite]'",
        packages=["mediapipe"],
    )


@contextlib.contextmanager
def suppress_native_logs() -> Iterator[None]:
    """Drop the log lines that MediaPipe's C++ code writes to standard error, and pass everything else on.

    Its libraries write to file descriptor 2 before any switch of Python reaches them, so the descriptor itself is redirected meanwhile.
    All other lines are written out on leaving, also after an error.
    """
    try:
        saved = os.dup(2)
    except OSError:  # no standard error at all (a daemon): nothing to redirect
        yield
        return
    try:
        with tempfile.TemporaryFile() as buffer:
            os.dup2(buffer.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(saved, 2)
                buffer.seek(0)
                for line in buffer.read().splitlines(keepends=True):
                    if not _NATIVE_LOG_LINE.match(line):
                        os.write(2, line)
    finally:
        os.close(saved)
