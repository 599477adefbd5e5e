"""Which checkpoints there are, and where they lie on this machine. Nothing is downloaded here."""

import os
from dataclasses import dataclass
from pathlib import Path

from body4d.config import WeightsSettings
from body4d.errors import WeightsError

FOLDER_VARIABLE = "BODY4D_WEIGHTS"


@dataclass(frozen=True)
class Checkpoint:
    """One published model: its repository, other repositories that fill the same seat, and folder names it is known to lie under."""

    name: str
    repo: str
    others: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @property
    def folder_names(self) -> tuple[str, ...]:
        """Where below a root it may lie, best first: owner/name, name, then what others call it."""
        repos = (self.repo, *self.others)
        return tuple(dict.fromkeys([*repos, *(repo.split("/")[1] for repo in repos), *self.folders]))


SAM3 = Checkpoint("SAM-3", "facebook/sam3")
SAM3D_BODY = Checkpoint(
    "SAM-3D-Body", "facebook/sam-3d-body-dinov3", ("facebook/sam-3d-body-vith", "Comfy-Org/sam-3d-body"), ("sam3d_body", "sam-3d-body")
)
MOGE = Checkpoint("MoGe-2", "Ruicheng/moge-2-vitl-normal", (), ("moge-2", "moge"))
VAS_AMODAL = Checkpoint("Diffusion-VAS (outlines)", "kaihuac/diffusion-vas-amodal-segmentation")
VAS_CONTENT = Checkpoint("Diffusion-VAS (completion)", "kaihuac/diffusion-vas-content-completion")
DEPTH_ANYTHING = Checkpoint("Depth-Anything-V2", "depth-anything/Depth-Anything-V2-Large-hf")


def roots(settings: WeightsSettings) -> tuple[Path, ...]:
    """Folders that may hold checkpoints: the one told, else $BODY4D_WEIGHTS, a Space's disk and the user's cache."""
    told = settings.folder or os.environ.get(FOLDER_VARIABLE)
    if told:
        return (Path(told).expanduser(),)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path("/data/checkpoints"), cache / "body4d" / "weights"


def find(model: Checkpoint, settings: WeightsSettings) -> Path | None:
    """The folder of ``model``, or None."""
    for root in roots(settings):
        for name in model.folder_names:
            if (root / name).is_dir() and any((root / name).iterdir()):
                return root / name
    return None


def place(model: Checkpoint, settings: WeightsSettings) -> Path:
    """The folder of ``model``. Raises WeightsError that says where it was looked for and what to do."""
    found = find(model, settings)
    if found is None:
        looked = " and ".join(str(root) for root in roots(settings))
        raise WeightsError(
            f"{model.name} has no checkpoint here (looked in {looked}): put the files of https://huggingface.co/{model.repo} into a folder "
            f"{model.repo.split('/')[1]} there, or name the folder above it with --weights."
        )
    return found
