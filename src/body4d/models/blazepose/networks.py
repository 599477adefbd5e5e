"""BlazePose's two networks and that of hands, run by LiteRT: people in the tiles of a picture, landmarks and mask of the person in a
region, and the landmarks of the hand in a region."""

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from body4d.core.errors import MissingDependencyError, WeightsError
from body4d.models.blazepose import detector, hands, landmarks
from body4d.models.blazepose.association import Box
from body4d.models.blazepose.hands import HandDetection
from body4d.models.blazepose.landmarks import LandmarkTensors, PoseDetection
from body4d.models.blazepose.model_files import BlazePoseModels
from body4d.models.blazepose.roi import RotatedRoi, upright_square

_NATIVE_LOG_LINE = re.compile(rb"^(INFO: |WARNING: All log messages before absl|[IWEF]\d{4} \d\d:\d\d:|[IWEF]\d{4} \d{4}:)")

_LOG_LOCK = threading.Lock()
"""The descriptor of standard error belongs to the whole process."""


class PoseNetworks:
    """The networks on ``num_workers`` cores. Answers do not depend on how many. A context manager.

    Several tiles or regions are dealt out to as many interpreters of one thread each; a single region, as of a person alone, is computed
    by one interpreter with all threads, which is slower for the same work in all but quicker for the one.
    """

    def __init__(self, models: BlazePoseModels, num_workers: int = 2) -> None:
        self._detector = _Network(models.detector, ((1, 2254, 12), (1, 2254, 1)), num_workers)
        self._landmarks = _Network(models.landmarks, ((1, 195), (1, 1), (1, 256, 256, 1), (1, 64, 64, 39), (1, 117)), num_workers)
        self._hands = _Network(models.hands, ((1, 63), (1, 1), (1, 1), (1, 63)), num_workers) if models.hands else None
        self._pool = ThreadPoolExecutor(num_workers, "blazepose")

    def __enter__(self) -> "PoseNetworks":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def detect(self, rgb: UInt8[np.ndarray, "h w 3"], tiles: Sequence[Box]) -> list[RotatedRoi]:
        """Regions of the people in the given tiles of a picture, in picture pixels; one person may come more than once."""

        def in_tile(box: Box) -> list[RotatedRoi]:
            x0, y0, x1, y1 = box
            boxes, scores = self._detector.run(detector.input_tensor(rgb[y0:y1, x0:x1]), is_alone=len(tiles) == 1)
            found = detector.decode(boxes[0], scores[0, :, 0], x1 - x0, y1 - y0)
            return [RotatedRoi.from_alignment(one.alignment_px + np.array([x0, y0]), one.score) for one in found]

        return [roi for rois in self._pool.map(in_tile, tiles) for roi in rois]

    def landmarks(self, rgb: UInt8[np.ndarray, "h w 3"], rois: Sequence[RotatedRoi]) -> list[PoseDetection | None]:
        """The person in each region; None where there is nobody."""
        height, width = rgb.shape[:2]

        def in_region(roi: RotatedRoi) -> PoseDetection | None:
            box = x0, y0, x1, y1 = roi.bounds_px(width, height)
            if x1 <= x0 or y1 <= y0 or not roi.side_px >= 1:
                return None
            points, presence, mask, heat_maps, world = self._landmarks.run(
                upright_square(rgb, roi, landmarks.INPUT_PX), is_alone=len(rois) == 1
            )
            tensors = LandmarkTensors(points.reshape(-1, 5), float(presence[0, 0]), mask[0, :, :, 0], heat_maps[0], world.reshape(-1, 3))
            return landmarks.decode(tensors, roi, box)

        return list(self._pool.map(in_region, rois))

    @property
    def reads_hands(self) -> bool:
        """Whether the model file of hands is here."""
        return self._hands is not None

    def hands(self, rgb: UInt8[np.ndarray, "h w 3"], rois: Sequence[RotatedRoi]) -> list[HandDetection | None]:
        """The hand in each region; None where there is none, and everywhere without the model of hands."""
        network = self._hands
        if network is None:
            return [None] * len(rois)

        def in_region(roi: RotatedRoi) -> HandDetection | None:
            if not roi.side_px >= 1:
                return None
            points, presence, right, world = network.run(upright_square(rgb, roi, hands.INPUT_PX), is_alone=len(rois) == 1)
            return hands.decode(points.reshape(-1, 3), float(presence[0, 0]), float(right[0, 0]), world.reshape(-1, 3), roi)

        return list(self._pool.map(in_region, rois))


class _Network:
    """One model file and the interpreters that run it. ``shapes`` are those of its outputs, in the file's order.

    Raises MissingDependencyError without LiteRT, WeightsError for a file that is not this network.
    """

    def __init__(self, path: Path, shapes: tuple[tuple[int, ...], ...], num_workers: int) -> None:
        self._path = path
        self._shapes = shapes
        self._per_thread = threading.local()
        self._with_all_threads = self._load(num_workers)

    def run(self, tensor: Float32[np.ndarray, "1 side side 3"], is_alone: bool) -> list[np.ndarray]:
        """The outputs. Those ``is_alone`` have all threads and are not to be called at the same time; the others have one each."""
        if is_alone:
            return self._with_all_threads(tensor)
        if not hasattr(self._per_thread, "interpreter"):
            self._per_thread.interpreter = self._load(1)
        return self._per_thread.interpreter(tensor)

    def _load(self, num_threads: int) -> "_Interpreter":
        return _Interpreter(self._path, self._shapes, num_threads)


class _Interpreter:
    """LiteRT's interpreter of a model file with one input. One call at a time."""

    def __init__(self, path: Path, shapes: tuple[tuple[int, ...], ...], num_threads: int) -> None:
        litert = _load_litert()
        with suppress_native_logs():
            try:
                self._interpreter = litert.Interpreter(model_path=str(path), num_threads=num_threads)
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise _not_this_network(path) from error
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            if tuple(tuple(one["shape"].tolist()) for one in outputs) != shapes or len(inputs) != 1:
                raise _not_this_network(path)
            self._input = inputs[0]["index"]
            self._outputs = [one["index"] for one in outputs]
            self._interpreter.invoke()  # the first run prepares the others, and logs

    def __call__(self, tensor: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output) for output in self._outputs]


def _load_litert() -> Any:
    try:
        return import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise MissingDependencyError(
            f"Preset lite needs LiteRT, and it could not be imported: {error}.",
            code="missing_package",
            hint="Run: pip install 'body4d[lite]'",
            packages=["ai_edge_litert"],
        ) from error


def _not_this_network(path: Path) -> WeightsError:
    return WeightsError(
        f"{path} is not the model file that BlazePose is read from.",
        code="checkpoint_unreadable",
        hint="Fetch it anew: body4d weights download lite",
        path=str(path),
    )


@contextlib.contextmanager
def suppress_native_logs() -> Iterator[None]:
    """Drop the log lines that LiteRT's C++ code writes to standard error, and pass everything else on.

    It writes to file descriptor 2 before any switch of Python reaches it, so the descriptor itself is redirected meanwhile. All other
    lines are written out on leaving, also after an error.
    """
    with _LOG_LOCK:
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
