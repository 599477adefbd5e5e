"""Run a clip from Python, watch its progress, and look at one joint.

python examples/01_run_a_clip.py clip.mp4 runs/clip
"""

import sys

import numpy as np

import body4d
from body4d.core.progress import Event


def show(event: Event) -> None:
    """Called for every event of every stage; raising body4d.core.errors.Cancelled here would stop the run."""
    if event.state in ("done", "skipped"):
        print(f"{event.stage:9} {event.state} after {event.seconds:.1f} s")
    elif event.state == "note":
        print(f"  {event.warning.text}")


def main(video: str, folder: str) -> None:
    settings = body4d.load_settings(overrides={"people.count": 1})
    scene = body4d.Pipeline.load(settings).run(video, folder, listener=show)
    person = scene.people[0]
    wrist_m = person.joint("left_wrist")
    times_s = scene.clip.times_s[person.frame_index] * scene.clip.time_scale
    speed = np.linalg.norm(np.diff(wrist_m, axis=0), axis=1) / np.diff(times_s)
    print(f"person {person.person_id}: {len(person)} frames, left wrist up to {speed.max():.1f} m/s")


if __name__ == "__main__":
    main(*sys.argv[1:])
