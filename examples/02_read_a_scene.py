"""Read the result of a run: who is there, where they stand in the world, what was seen and what was bridged.

python examples/02_read_a_scene.py runs/clip/scene.npz
"""

import sys
from pathlib import Path

import numpy as np

import body4d


def main(path: str) -> None:
    scene = body4d.load_scene(Path(path))
    camera = scene.camera
    print(f"{len(scene.clip)} frames at {scene.clip.fps:.3f} fps, field of view {camera.fov_deg:.1f} degrees ({camera.source})")
    for person in scene.people:
        hips_m = (person.joint("left_hip") + person.joint("right_hip")) / 2  # camera axes
        R, t = scene.T_world_camera[:3, :3], scene.T_world_camera[:3, 3]
        world_m = hips_m @ R.T + t  # y is up and the floor is at 0
        travelled_m = np.linalg.norm(np.diff(world_m[:, [0, 2]], axis=0), axis=1).sum()
        seen = f"seen on {person.observed.sum()} of {len(person)} frames"
        print(f"person {person.person_id}: {seen}, hips at {world_m[0, 1]:.2f} m, moved {travelled_m:.2f} m over the floor")
        off_px = np.linalg.norm(camera.project(person.joints_m) - person.keypoints_px, axis=-1)
        print(f"  joints lie {np.nanmedian(off_px):.1f} px (median) from where they were measured")


if __name__ == "__main__":
    main(*sys.argv[1:])
