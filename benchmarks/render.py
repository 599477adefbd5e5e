"""How fast are the pictures? Times skinning, rasterizing, silhouettes and whole runs of write_pictures on this machine.

    python benchmarks/render.py [--json] [--frames 60]

The body is Anny in made-up poses; 720p is 1280x720 with the body about 650 pixels tall, a lone thread unless said otherwise. "Compile"
is what numba takes the first time ever on a machine; later processes load the result from disk ("load"). At 1080p the whole stage is
timed with one and with five people, drawn by the CPU and, where torch finds one, by the GPU ("cuda"). Videos are encoded by NVENC where
it works, else by x264.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from body4d.bodies.anny import DEFAULT_SHAPE, anny_body
from body4d.config import PictureSettings
from body4d.core.rig import Rig, vertex_normals
from body4d.core.types import BodyTrack, Camera, Clip, Scene
from body4d.render.rasterizer import Mesh, draw, shade_mesh, silhouette, silhouettes
from body4d.render.write import write_pictures
from body4d.video.encoders import nvenc_problem

_FIRST_DRAW = """
import time, numpy as np
start = time.perf_counter()
from body4d.render.rasterizer import Mesh, draw, silhouette
from body4d.render.drawing import draw_trail
from body4d.core.rig import Rig
from body4d.core.types import Camera
faces = np.array([[0, 1, 2]], np.int32)
vertices = np.array([[0, 0, 2], [0, 1, 2], [1, 0, 2]], np.float32)
draw([Mesh(vertices, faces, np.ones(3))], Camera(64, 32, 32, 64, 64), np.zeros(3, np.uint8))
silhouette(vertices, faces, Camera(64, 32, 32, 64, 64))
draw_trail(np.zeros((9, 9, 3), np.uint8), np.array([[1.0, 1], [5, 5]]), np.ones(2), 1.0, (9, 9, 9))
one = np.ones((1, 1))
weights = np.zeros((3, 1), np.int32), np.ones((3, 1))
rig = Rig(("root",), np.array([-1]), np.zeros((1, 3)), vertices, faces, *weights, "mhr70", one, one[None])
rig.vertices(np.eye(3)[None, None], np.zeros((1, 1, 3)))
print(time.perf_counter() - start)
"""


def poses(rig: Rig, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation vectors (T, J, 3) and translations (T, 3) of somebody who sways and turns some 3 m away."""
    phase = np.arange(frames)[:, None] / 30 * 2 * np.pi
    rng = np.random.default_rng(0)
    rotations = np.zeros((frames, len(rig.joint_names), 3))
    for j, name in enumerate(rig.joint_names):
        if name.split(".")[0] in ("upperarm01", "lowerarm01", "upperleg01", "lowerleg01", "spine03", "neck01"):
            rotations[:, j] = 0.5 * np.sin(phase * rng.uniform(0.5, 1) + rng.uniform(0, 6)) * rng.uniform(-1, 1, 3)
    rotations[:, 0, 1] = phase[:, 0] / 4
    return rotations, np.tile([0.0, 0.05, 3.0], (frames, 1))


def rate(work: Callable[[], Any], frames: int) -> float:
    """Frames a second: the best of three rounds, so that other work on the machine counts least."""
    work()
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return frames / best


def compile_seconds() -> dict[str, float]:
    """Seconds for the first drawing of a process: with an empty cache, then with a full one. The import of numba counts too."""
    with tempfile.TemporaryDirectory() as cache:
        times = []
        for _ in range(2):
            child = subprocess.run(
                [sys.executable, "-c", _FIRST_DRAW],
                env={**os.environ, "NUMBA_CACHE_DIR": cache},
                capture_output=True,
                text=True,
                check=True,
            )
            times.append(float(child.stdout))
    return {"compile_s": times[0], "load_s": times[1]}


def drawing(rig: Rig, frames: int) -> dict[str, float]:
    """Frames a second of each step at 1280x720."""
    rotations, translation = poses(rig, frames)
    G, p = rig.forward(rotations, translation)
    vertices = rig.vertices(G, p)
    camera, colour = Camera(1100.0, 640.0, 360.0, 1280, 720), np.array([0.34, 0.71, 0.91])
    background = np.full((720, 1280, 3), 200, np.uint8)
    lit = [shade_mesh(Mesh(v, rig.faces, colour)) for v in vertices]

    def whole(t: int, samples: int = 4) -> None:
        draw([Mesh(rig.vertices(G[t : t + 1], p[t : t + 1])[0], rig.faces, colour)], camera, background, samples=samples)

    def threaded() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(whole, range(frames)))

    every = range(frames)
    small = camera.scaled(0.2)
    return {
        "skin_fps": rate(lambda: rig.vertices(G, p), frames),
        "normals_fps": rate(lambda: [vertex_normals(v, rig.faces) for v in vertices], frames),
        "light_fps": rate(lambda: [shade_mesh(Mesh(v, rig.faces, colour)) for v in vertices], frames),
        "raster_1_sample_fps": rate(lambda: [draw([m], camera, background, samples=1) for m in lit], frames),
        "raster_4_samples_fps": rate(lambda: [draw([m], camera, background) for m in lit], frames),
        "raster_8_samples_fps": rate(lambda: [draw([m], camera, background, samples=8) for m in lit], frames),
        "skin_light_raster_4_samples_fps": rate(lambda: [whole(t) for t in every], frames),
        "skin_light_raster_4_samples_2_threads_fps": rate(threaded, frames),
        "silhouette_720p_fps": rate(lambda: [silhouette(v, rig.faces, camera) for v in vertices], frames),
        "silhouettes_256x144_fps": rate(lambda: silhouettes(vertices, rig.faces, small), frames),
    }


class _GreyFrames:
    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def read(self, first: int = 0, last: int | None = None, step: int = 1) -> Iterator[tuple[int, Any]]:
        for frame in range(first, len(self.clip) if last is None else last, step):
            yield frame, np.full((self.clip.height_px, self.clip.width_px, 3), 120, np.uint8)


def pictures(rig: Rig, frames: int, width_px: int, height_px: int, people: int = 1, device: Literal["cpu", "cuda"] = "cpu") -> float:
    """Frames a second of write_pictures, all three files with encoding; bodies stand 0.7 m apart."""
    clip = Clip(Path("made"), width_px, height_px, Fraction(30), np.arange(frames) / 30, np.arange(frames))
    camera = Camera(height_px * 1.5, width_px / 2, height_px / 2, width_px, height_px)
    tracks = tuple(_standing(rig, frames, camera, number, 0.7 * (number - (people + 1) / 2)) for number in range(1, people + 1))
    floor = np.diag([1.0, -1.0, -1.0, 1.0])
    floor[1, 3] = max(track.joints_m[..., 1].max() for track in tracks)
    scene, settings = Scene(clip, camera, tracks, floor), PictureSettings(device=device)
    with tempfile.TemporaryDirectory() as folder:
        overlay, views, sheet = (Path(folder) / name for name in ("overlay.mp4", "views.mp4", "sheet.png"))
        return rate(lambda: write_pictures(scene, _GreyFrames(clip), overlay, views, sheet, settings), frames)


def _standing(rig: Rig, frames: int, camera: Camera, person_id: int, aside_m: float) -> BodyTrack:
    rotations, translation = poses(rig, frames)
    translation = translation + np.array([aside_m, 0, 0])
    joints = rig.keypoints(*rig.forward(rotations, translation)).astype(np.float32)
    ones = np.ones(frames, np.float32)
    return BodyTrack(
        person_id,
        "anny",
        np.arange(frames),
        DEFAULT_SHAPE,
        rotations.astype(np.float32),
        translation.astype(np.float32),
        joints,
        camera.project(joints).astype(np.float32),
        np.ones(joints.shape[:2], np.float32),
        ones,
        ones > 0,
    )


def has_cuda() -> bool:
    """Whether torch is installed and finds a CUDA device."""
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    arguments.add_argument("--frames", type=int, default=60)
    options = arguments.parse_args()
    rig = anny_body().rig(DEFAULT_SHAPE)
    results: dict[str, float] = {"cores": len(os.sched_getaffinity(0)), "load_1min": os.getloadavg()[0]}
    results |= {"vertices": len(rig.rest_vertices_m), "triangles": len(rig.faces), **compile_seconds(), **drawing(rig, options.frames)}
    for width, height in ((354, 492), (1280, 720)):
        results[f"write_pictures_{width}x{height}_fps"] = pictures(rig, options.frames, width, height)
    results["nvenc"] = float(nvenc_problem() is None)
    for people in (1, 5):
        for device in ("cpu", "cuda") if has_cuda() else ("cpu",):
            name = f"write_pictures_1920x1080_people_{people}_{device}_fps"
            results[name] = pictures(rig, options.frames, 1920, 1080, people, device)
    if options.json:
        print(json.dumps({name: round(value, 3) for name, value in results.items()}))
        return
    for name, value in results.items():
        print(f"{name:<45} {value:>10.2f}")


if __name__ == "__main__":
    main()
