"""A result as the app serves it: a video whose pictures tell their own number, a body, curves, a swing."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from body4d.core.types import Scene
from body4d.export import export_scene
from body4d.export.movement import movement_json
from body4d.video.writer import VideoWriter
from scenes import make_scene

TOKEN, OTHER = "a" * 32, "b" * 32
FRAMES = 40
SIZE = (192, 108)
NUM_BITS = 6
MOMENTS = {"address": 4, "top": 20, "impact": 26, "finish": 36}

_READ_NUMBER = """(picture, width, height) => {
  const context = picture.getContext("2d");
  let number = 0;
  for (let bit = 0; bit < BITS; bit++) {
    const [light] = context.getImageData(Math.floor(((bit + 0.5) * width) / BITS), height >> 1, 1, 1).data;
    number |= (light > 127) << bit;
  }
  return number;
}""".replace("BITS", str(NUM_BITS))

READ_STATE = """() => {
  const picture = document.getElementById("picture");
  return { video: (READ)(picture, picture.width, picture.height), body: Number(document.getElementById("canvas").dataset.frame),
           cursor: Number(document.getElementById("chart").dataset.frame), told: Number(document.getElementById("frame").textContent) };
}""".replace("READ", _READ_NUMBER)
"""What each part of the page shows at one moment: the number in the video's picture as it is on the screen, the others' own word."""

READ_OTHER_VIDEO = """() => {
  const video = document.getElementById("other-video");
  const picture = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  picture.getContext("2d").drawImage(video, 0, 0);
  return (READ)(picture, picture.width, picture.height);
}""".replace("READ", _READ_NUMBER)
"""The number in the picture of the other swing's video."""


def write_result(folder: Path, *, swing_at: int = 0) -> Scene:
    """A clip of uneven steps in ``folder``; its swing is ``swing_at`` frames later than ``MOMENTS`` say."""
    scene = make_scene(frames=FRAMES, variable_rate=True)
    export_scene(scene, "glb", folder / "body.glb")
    with VideoWriter(folder / "overlay.mp4", *SIZE, scene.clip.times_s) as video:
        for frame in range(FRAMES):
            video.write(_picture(frame))
    (folder / "movement.json").write_text(movement_json(scene))
    (folder / "golf.json").write_text(json.dumps(_golf(scene, swing_at)))
    files = [{"name": name, "kind": name[-3:].upper(), "title": name, "bytes": 1000} for name in ("overlay.mp4", "body.html", "golf.pdf")]
    names = {"video": "overlay.mp4", "glb": "body.glb", "movement": "movement.json", "golf": "golf.json"}
    people = [{"id": 1, "frames": FRAMES, "height_m": 1.8, "height_assumed": True}]
    (folder / "result.json").write_text(
        json.dumps({"name": "<b>swing</b>.mp4", **names, "people": people, "notes": ["A note."], "files": files})
    )
    return scene


def _picture(frame: int) -> np.ndarray:
    width, height = SIZE
    bits = (frame >> np.arange(NUM_BITS)) & 1
    row = np.repeat(255 * bits, width // NUM_BITS).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def _golf(scene: Scene, later: int) -> dict[str, Any]:
    times_s = scene.clip.times_s
    events = {
        name: {
            "frame": at + later,
            "frame_exact": at + later,
            "time_s": times_s[at + later],
            "confidence": 0.9,
            "proxy": False,
            "method": "made",
        }
        for name, at in MOMENTS.items()
    }
    measure = {"class": "B", "unit": "°", "method": "made", "proxy": False, "reason": "", "group": "Turn", "estimate": False}
    measures = [
        {**measure, "name": "pelvis_turn_deg", "label": "Pelvis turn", "event": "top", "value": -40.0 - 10 * later, "bar": 4.0},
        {
            **measure,
            "name": "x_factor_deg",
            "label": "X-factor",
            "event": "top",
            "value": 30.0,
            "bar": None,
            "class": "C",
            "reason": "unsure",
        },
    ]
    frame = {"target": [1, 0, 0], "ball": [0, 0, 1], "up": [0, 1, 0], "origin_m": [0, 0, 0], "view": "face-on"}
    curve = {"name": "pelvis_turn_deg", "label": "Pelvis turn", "unit": "°", "bar": 4.0, "class": "B", "group": "Turn"}
    swing = {
        "events": events,
        "measures": measures,
        "frame": frame,
        "practice": False,
        "tempo": {"ratio": 3.0, "ratio_bar": 0.3, "backswing_s": 0.6, "downswing_s": 0.2, "frame_time_s": 0.03},
        "frames": list(range(2, 38)),
        "curves": [{**curve, "values": [float(np.sin(i / 6) * 40) for i in range(36)]}],
    }
    warning = {"code": "swing_seems_slowed", "message": "It seems slowed down.", "hint": "--capture-fps says how much."}
    return {"clip": "made", "person": 1, "main": 0, "swings": [swing], "warnings": [warning]}
