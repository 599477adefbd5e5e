"""How long does it take from a video to finished files, stage by stage, and how do time and memory grow with length?

    python benchmarks/end_to_end.py [--case one five length] [--preset lite|sam] [--weights FOLDER] [--video CLIP] [--cores 2] [--json]
    python benchmarks/end_to_end.py --preset sam --weights random --given RUN [--case one length] [--lengths 264 3600] [--json]

- one: one golfer, 264 frames; five: five people side by side, 90 frames; length: one golfer for 0.5, 2 and 10 minutes.
- CLIP is a real golf swing ($BODY4D_SHARED/videos/golf_swing.mp4). Longer films play it forwards and backwards, so that nothing is cut.
- lite runs on --cores cores. sam takes checkpoints of the published sizes from --weights, made-up ones too (SAM-3D-Body's by
  benchmarks/full_size_checkpoint.py): SAM-3 follows the people's boxes for its time, and the masks that the bodies are made from are those
  of preset lite, so that there is work whatever the weights say.
- ``--weights random`` needs no checkpoints and none of lite's packages: SAM-3, MoGe-2 and SAM-3D-Body of the published sizes are made in
  the process, with random weights, so that loading is not measured. The clip is set into 1080 lines. SAM-3 is asked by text, upright
  bars stand for what it finds (as in masks.py), every network works for its time, and masks, camera and bodies of RUN, a finished run of
  lite of CLIP, are handed on. The first run of the process is told apart from the others.

Every run is a process of its own: seconds of the whole command by the clock and of the processor, seconds and memory of each stage.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CASES = {"one": ((264, 1),), "five": ((90, 5),), "length": ((900, 1), (3600, 1), (18_000, 1))}
"""(frames, people)."""


def make_film(source: Path, path: Path, frames: int, people: int) -> Path:
    """``frames`` frames of the clip played to and fro, ``people`` of it side by side, each begun somewhat later."""
    from body4d.video import VideoReader, VideoWriter, probe

    reader = VideoReader(probe(source))
    pictures = [rgb for _, rgb in reader.read()]
    to_and_fro = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width * people, height, np.arange(frames) / reader.clip.fps) as out:
        for n in range(frames):
            out.write(np.hstack([pictures[to_and_fro[(n + 20 * person) % len(to_and_fro)]] for person in range(people)]))
    return path


SIZE_PX = (1920, 1080)
"""Of the films for random weights."""


def place_in_frame(picture: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """A picture enlarged to the height of a frame, in its middle, its border continued to the sides."""
    import cv2

    width, height = size_px
    large = cv2.resize(picture, (round(picture.shape[1] * height / picture.shape[0]), height), interpolation=cv2.INTER_LINEAR)
    left = (width - large.shape[1]) // 2
    return cv2.copyMakeBorder(large, 0, 0, left, width - large.shape[1] - left, cv2.BORDER_REFLECT)


def to_and_fro(count: int) -> np.ndarray:
    """Frames of a clip of ``count`` played forwards, then backwards."""
    return np.array([*range(count), *range(count - 2, 0, -1)])


def make_long_film(source: Path, path: Path, frames: int) -> Path:
    """``frames`` frames of the clip to and fro in 1080 lines: one round is encoded, and its packets are repeated."""
    import av

    from body4d.video import VideoReader, VideoWriter, probe

    reader = VideoReader(probe(source))
    pictures = [place_in_frame(rgb, SIZE_PX) for _, rgb in reader.read()]
    order, rate = to_and_fro(len(pictures))[:frames], reader.clip.rate
    once = path.with_suffix(".once.mp4")
    with VideoWriter(once, *SIZE_PX, np.arange(len(order)) / float(rate)) as out:
        for n in order:
            out.write(pictures[n])
    with av.open(once) as read, av.open(path, "w") as write:
        stream = read.streams.video[0]
        copy = write.add_stream_from_template(stream)
        packets = [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in read.demux(stream) if packet.pts is not None]
        step = round(1 / float(rate) / float(stream.time_base))
        for first in range(0, frames, len(order)):
            for data, pts, dts, is_key in packets[: frames - first]:
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = copy, stream.time_base, is_key
                packet.pts, packet.dts = pts + first * step, dts + first * step
                write.mux(packet)
    return path


class GivenRun:
    """Masks, camera and bodies of a finished run of lite of the clip, as a long film's."""

    def __init__(self, run: Path, frames: int) -> None:
        from body4d.bodies.registry import rig_of
        from body4d.core.scene_io import load_masks, load_scene

        scene = load_scene(run / "scene.npz")
        order = to_and_fro(len(scene.clip))
        order, zoom = order[np.arange(frames) % len(order)], SIZE_PX[1] / scene.clip.height_px
        left = (SIZE_PX[0] - round(scene.clip.width_px * zoom)) // 2
        self.camera = dataclasses.replace(
            scene.camera, focal_px=scene.camera.focal_px * zoom, cx_px=scene.camera.cx_px * zoom + left, cy_px=scene.camera.cy_px * zoom,
            width_px=SIZE_PX[0], height_px=SIZE_PX[1],
        )  # fmt: skip
        self.masks = tuple(self._longer(track, order) for track in load_masks(run / "masks.npz")[:1])
        self.bodies = tuple(self._body(track, order, rig_of(track), zoom, left) for track in scene.people[:1])

    @staticmethod
    def _longer(track: Any, order: np.ndarray) -> Any:
        from body4d.core.types import MaskTrack

        codes = {}
        for row, frame in enumerate(track.frame_index.tolist()):
            sides = place_in_frame(track.mask(row).astype(np.uint8), SIZE_PX)
            shown = round(track.width_px * SIZE_PX[1] / track.height_px)
            left = (SIZE_PX[0] - shown) // 2
            sides[:, :left] = sides[:, left + shown :] = 0
            codes[frame] = MaskTrack.encode(sides > 0)
        index = [n for n, frame in enumerate(order.tolist()) if frame in codes]
        return MaskTrack(1, np.array(index), tuple(codes[int(order[n])] for n in index), SIZE_PX[1], SIZE_PX[0])

    @staticmethod
    def _body(track: Any, order: np.ndarray, rig: Any, zoom: float, left: int) -> Any:
        rows = [(n, track.row(int(frame))) for n, frame in enumerate(order)]
        index, at = (np.array(part) for part in zip(*[(n, row) for n, row in rows if row is not None], strict=True))
        per_frame = ("rotations", "translation_m", "joints_m", "keypoints_px", "visibility", "confidence", "observed")
        arrays = {name: getattr(track, name)[at] for name in per_frame}
        arrays["keypoints_px"] = arrays["keypoints_px"] * zoom + np.array([left, 0], arrays["keypoints_px"].dtype)
        return dataclasses.replace(
            track, person_id=1, frame_index=index, rig=rig, mask_iou=None, joints_raw_m=None, joint_sigma_m=None, hidden=None, **arrays
        )


class Timed:
    """A stage's model that works for its time and then hands out what is given."""

    def __init__(self, real: Any, given: Any) -> None:
        self._real, self._given, self.cache_inputs = real, given, [real.cache_inputs, "given"]

    def _handed_out(self, result: Any) -> Any:
        return dataclasses.replace(result, value=self._given)

    def load_ahead(self, clip: Any) -> None:
        if hasattr(self._real, "load_ahead"):
            self._real.load_ahead(clip)

    def drop_ahead(self) -> None:
        if hasattr(self._real, "drop_ahead"):
            self._real.drop_ahead()

    def track(self, *inputs: Any) -> Any:
        return self._handed_out(self._real.track(*inputs))

    def estimate(self, *inputs: Any) -> Any:
        return self._handed_out(self._real.estimate(*inputs))


def random_pipeline(settings: Any, given: GivenRun, size: str) -> Any:
    """Preset sam with random networks, which are kept: of the published sizes, or "tiny"."""
    import masks as masks_benchmark
    import torch
    from made_body import SIZES, made_rig, random_net

    from body4d.models.moge.estimator import MogeCameraEstimator, MogeFocalEstimator
    from body4d.models.sam3 import network as sam3_network
    from body4d.models.sam3.segmenter import Sam3Segmenter
    from body4d.models.sam3d_body.estimator import Sam3dBodyEstimator
    from body4d.run.pipeline import Pipeline
    from body4d.run.presets import PipelineComponents, choose_picture_device
    from body4d.runtime.device import choose_device, gpu_peak_bytes, reset_gpu_peak
    from body4d.runtime.memory import DeviceMemory
    from camera import random_net as random_moge

    device, full = choose_device(settings.compute), size == "full"
    weights = masks_benchmark.weights_of("random" if full else "tiny", device)
    masks_benchmark.keep_everybody()
    masks_benchmark.answer_bars()
    sam3_network.merge_detections = masks_benchmark.bars(1)
    moge = random_moge(device) if full else None
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    net, rig = random_net(SIZES[size], device).set_precision(dtype), made_rig(full, device)
    compute = settings.compute
    segmenter = Sam3Segmenter(lambda device: weights, settings.sam3, settings.people, compute)
    bodies = Sam3dBodyEstimator(lambda device, dtype: (net, rig), settings.sam3d_body, compute)
    if moge is None:
        from body4d.camera.intrinsics import GivenCamera

        camera: Any = GivenCamera(settings.camera)
    else:
        network = MogeFocalEstimator(moge, settings.moge, device, dtype)
        camera = MogeCameraEstimator(lambda device, dtype: network, settings.camera, settings.moge, compute)
    parts = PipelineComponents(
        "sam", Timed(segmenter, given.masks), Timed(camera, given.camera), Timed(bodies, given.bodies),
        memory=DeviceMemory(reset_gpu_peak, gpu_peak_bytes), picture_device=choose_picture_device(settings, "sam"),
    )  # fmt: skip
    return Pipeline.of_components(settings, parts)


def stage_costs(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Seconds and memory of each stage of a run's record."""
    return {name: {key: stage[key] for key in ("seconds", "cpu_peak_mb", "gpu_peak_mb")} for name, stage in record["stages"].items()}


def run_random(video: Path, out: Path, run: Path, frames: int, size: str, runs: int) -> Iterator[dict[str, Any]]:
    """What one process does with random weights: the whole way ``runs`` times."""
    import resource

    from body4d.config.loading import load_settings

    pipeline = random_pipeline(load_settings(None, {"preset": "sam"}, {}), GivenRun(run, frames), size)
    for number in range(1, runs + 1):
        began = time.perf_counter()
        pipeline.run(video, out, fresh=True)
        wall_s = time.perf_counter() - began
        record = json.loads((out / "run.json").read_text())
        stages = stage_costs(record)
        most_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        row = {"run": number, "frames": frames, "wall_s": round(wall_s, 2), "frames_per_s": round(frames / wall_s, 1)}
        yield row | {"most_mb": most_mb, "stages": stages}


class BoxedSegmenter(Timed):
    """A segmenter that follows the boxes of given masks for its time and then hands out the masks."""

    def track(self, frames: Any, prompts: Any, progress: Any) -> Any:
        from body4d.core.types import Prompt

        return super().track(frames, [Prompt(int(m.frame_index[0]), m.person_id, box_px=m.boxes_px()[0]) for m in self._given], progress)


def run_once(video: Path, out: Path, preset: str, weights: str | None, masks: Path | None) -> None:
    """What one process does."""
    from body4d.config.loading import load_settings
    from body4d.core.scene_io import load_masks
    from body4d.run.pipeline import Pipeline

    flags = {"preset": preset, "people.count": "all"} | ({"weights.folder": weights} if weights else {})
    pipeline = Pipeline.load(load_settings(None, flags, {}))
    if masks is not None:
        pipeline = dataclasses.replace(pipeline, segmenter=BoxedSegmenter(pipeline.segmenter, load_masks(masks)))
    pipeline.run(video, out, fresh=True)


def measure(video: Path, out: Path, preset: str, weights: str | None, masks: Path | None, cores: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(video), str(out), preset, weights or "", str(masks or "")]
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ | ({"OMP_NUM_THREADS": str(cores)} if preset == "lite" else {}))
    if preset == "lite" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, sorted(os.sched_getaffinity(0))[:cores])
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"the run of {video.name} failed (status {status})")
    record = json.loads((out / "run.json").read_text())
    stages = stage_costs(record)
    people = len(record["stages"]["motion"]["result"])
    return {
        "people": people,
        "wall_s": round(time.perf_counter() - began, 1),
        "processor_s": round(used.ru_utime + used.ru_stime, 1),
        "most_mb": round(used.ru_maxrss / 1024),
        "stages": stages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=tuple(CASES), default=["one"])
    parser.add_argument("--preset", choices=("lite", "sam"), default="lite")
    parser.add_argument("--weights")
    parser.add_argument("--video", type=Path, default=Path(os.environ.get("BODY4D_SHARED", "../shared")) / "videos" / "golf_swing.mp4")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--given", type=Path, metavar="RUN", help="with --weights random: a finished run of lite of CLIP")
    parser.add_argument("--lengths", type=int, nargs="+", default=[264], help="with --weights random: frames of the films")
    parser.add_argument("--runs", type=int, default=2, help="with --weights random: in one process")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="with --weights random: of the networks")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        video, out, preset, weights, masks = given.child
        run_once(Path(video), Path(out), preset, weights or None, Path(masks) if masks else None)
        return
    if given.weights == "random":
        with tempfile.TemporaryDirectory() as place:
            for frames in given.lengths:
                film = make_long_film(given.video, Path(place) / f"film{frames}.mp4", frames)
                for row in run_random(film, Path(place) / f"run{frames}", given.given, frames, given.size, given.runs):
                    print(json.dumps(row) if given.json else row, flush=True)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for case in given.case:
            for frames, people in CASES[case]:
                film = make_film(given.video, Path(place) / f"{case}{frames}.mp4", frames, people)
                masks: Path | None = None
                if given.preset == "sam":  # lite's masks, which are not measured
                    measure(film, Path(place) / f"masks{case}{frames}", "lite", None, None, given.cores)
                    masks = Path(place) / f"masks{case}{frames}" / "masks.npz"
                out = Path(place) / f"run{case}{frames}"
                row = {"case": case, "preset": given.preset, "frames": frames}
                rows.append(row | measure(film, out, given.preset, given.weights, masks, given.cores))
                if not given.json:
                    stages = ", ".join(f"{name} {stage['seconds']:.1f}" for name, stage in rows[-1]["stages"].items())
                    print(", ".join(f"{key} {value}" for key, value in rows[-1].items() if key != "stages"), f"| s: {stages}", flush=True)
    if given.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
