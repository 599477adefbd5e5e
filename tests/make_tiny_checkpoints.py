"""Writes tiny checkpoints of every model of preset sam in the official on-disk layouts: everything but the numbers is real.

    python tests/make_tiny_checkpoints.py DIR
    body4d run clip.mp4 --preset sam --weights DIR --device cpu --end 1.0

Weights are made up. SAM-3's find one person, nearly as large as the picture; MoGe's see a wall; the bodies mean nothing; to Diffusion-VAS
whoever may be hidden is as large as their surroundings.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mhr_files import FULL_JOINTS, FULL_VERTICES, make_rig, save_script
from moge_files import write_tiny_moge
from sam3_files import write_tiny_sam3
from sam3d_files import TINY, official_state, save_official
from vas_files import write_tiny_depth_anything, write_tiny_diffusion_vas


def write_tiny_checkpoints(folder: Path) -> Path:
    """A folder for each model, named as its repository is."""
    write_tiny_sam3(folder / "sam3")
    write_tiny_moge(folder / "moge-2-vitl-normal")
    write_tiny_sam3d_body(folder / "sam-3d-body-dinov3")
    write_tiny_diffusion_vas(folder / "diffusion-vas-amodal-segmentation", white=True)
    write_tiny_diffusion_vas(folder / "diffusion-vas-content-completion", seed=1)
    write_tiny_depth_anything(folder / "Depth-Anything-V2-Large-hf")
    return folder


def write_tiny_sam3d_body(folder: Path) -> Path:
    """model.ckpt, model_config.yaml and assets/mhr_model.pt. The rig has MHR's vertices, for the checkpoint's keypoints hang on them,
    but few triangles and few correctives (40 MB instead of 700)."""
    save_official(official_state(TINY), folder)
    rig = make_rig(FULL_VERTICES, FULL_JOINTS, faces=600, hidden_per_joint=1)
    (folder / "assets").mkdir(exist_ok=True)
    save_script(rig, folder / "assets" / "mhr_model.pt")
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(write_tiny_checkpoints(Path(sys.argv[1])))
