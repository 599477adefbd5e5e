"""The one catalogue of checkpoints, and where they lie on this machine. Nothing is downloaded here.

Revisions, sizes and sums are those that users of the published files report, most of them several times over; no publisher states them
and none could be asked while this was written. A download is held to them, so a wrong one would be found and told, not passed over.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from body4d.checkpoints.intact import cut_short
from body4d.checkpoints.sources import Checkpoint, Licence, PublishedFile, Source
from body4d.config import WeightsSettings
from body4d.core.errors import WeightsError

FOLDER_VARIABLE = "BODY4D_WEIGHTS"
SPACE_DISK = Path("/data")
"""Where a Space's persistent storage is mounted."""

SAM_LICENCE = Licence("SAM License", "https://huggingface.co/facebook/sam3/blob/main/LICENSE", "Meta's own; has terms on use and trade.")
BODY_LICENCE = Licence(
    "SAM License",
    "https://huggingface.co/facebook/sam-3d-body-dinov3/blob/main/LICENSE",
    "Meta's own; the DINOv3 License holds for the backbone.",
)
MIT = Licence("MIT", "https://github.com/microsoft/MoGe/blob/main/LICENSE")
NO_LICENCE = Licence(
    "none stated", "https://github.com/Kaihua-Chen/diffusion-vas", "Built on Stable Video Diffusion; ask its authors before use."
)
NON_COMMERCIAL = Licence("CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/", "Not for commercial work.")

RIG_FILE = PublishedFile("assets/mhr_model.pt", 696_110_248, "352e271a6c42729c68554ceaea0c955e866970160c31e35506d782dc0f7377bc")
_RIGS = ("assets/mhr_model.pt", "mhr_model.pt", "mhr.safetensors")
_REPACKS = ("sam_3d_body*.safetensors", "detection/sam_3d_body*.safetensors")
RIG_VARIABLE = "BODY4D_MHR"

SAM3 = Checkpoint(
    key="sam3",
    name="SAM-3",
    seat="masks",
    need="required",
    sources=(
        Source(
            "facebook/sam3",
            SAM_LICENCE,
            revision="3c879f39826c281e95690f02c7821c4de09afae7",
            files=(
                PublishedFile("config.json"),
                PublishedFile("model.safetensors", 3_439_938_512, "6d06f0a5f84e435071fe6603e61d0b4cc7b40e0d39d487cfd4d67d8cc11cc14a"),
                PublishedFile("vocab.json"),
                PublishedFile("merges.txt"),
            ),
            patterns=("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "processor_config.json", "LICENSE"),
            gated=True,
        ),
    ),
    layouts=(
        ("config.json", "model.safetensors", "tokenizer.json"),
        ("config.json", "model.safetensors", "vocab.json", "merges.txt"),
        ("config.json", "model.safetensors.index.json", "tokenizer.json"),
        ("config.json", "model.safetensors.index.json", "vocab.json", "merges.txt"),
    ),
    foreign={"sam3.pt": "the original form, which is not read", "sam3.1*": "SAM-3.1, whose memory is built differently and is not read"},
)

SAM3D_BODY = Checkpoint(
    key="sam3d-body",
    name="SAM-3D-Body",
    seat="bodies",
    need="required",
    sources=(
        Source(
            "facebook/sam-3d-body-dinov3",
            BODY_LICENCE,
            revision="11aaa346c7204874a1cbafe3d39a979080b2c55a",
            files=(
                PublishedFile("model.ckpt", 2_109_129_346, "b5a2f9d305dd02626b967aa2e86021fba07065df66ce7a7e00ffb9664f150abf"),
                PublishedFile("model_config.yaml", 1_488, "1012fc3f39cb5e90e3f8fbadf7bded31604bfafdce0321d17a7c1a2d3f08b88d"),
                RIG_FILE,
            ),
            patterns=("LICENSE",),
            gated=True,
            about="as published by Meta",
        ),
        Source(
            "Comfy-Org/sam-3d-body",
            BODY_LICENCE,
            revision="60476aced0b8de0a0e82a318c79a85061cc97434",
            files=(
                PublishedFile(
                    "detection/sam_3d_body_dinov3_bf16.safetensors",
                    2_830_737_652,
                    "59fa45200c504c5b56625004d7d3385daf48c616613e88099e43bf83b3e249cf",
                ),
            ),
            patterns=("LICENSE",),
            about="the same network with its rig in one bfloat16 file, repacked and published without a gate by ComfyUI",
        ),
        Source(
            "facebook/sam-3d-body-vith",
            BODY_LICENCE,
            revision="f7f4ba4f67739e297f291639afb7c59041745367",
            files=(
                PublishedFile("model.ckpt", 1_691_205_237, "3b1cb897f4bbd977bf81cbb0b30780a9582681ac642ee112865790ceb4d66056"),
                PublishedFile("model_config.yaml", 1_486, "d2e772e108b8727e9367681845fecb32806144acd0debc20868d100689470570"),
                RIG_FILE,
            ),
            patterns=("LICENSE",),
            gated=True,
            automatic=False,
            about="with a smaller backbone (ViT-H), so other results",
        ),
    ),
    layouts=(("model.ckpt",), *((pattern,) for pattern in _REPACKS)),
    folders=("sam3d_body",),
)

MOGE = Checkpoint(
    key="moge",
    name="MoGe-2",
    seat="camera",
    need="recommended",
    sources=(
        Source(
            "Ruicheng/moge-2-vitl-normal",
            MIT,
            revision="cb0e8bbd6b1e243589717c78e750b1ba4c093acf",
            files=(PublishedFile("model.pt", 1_323_815_904, "280741fd09bc3f403ccff9967784c2a391b52d2c0742ae3efdb21d9f90cc1a01"),),
        ),
    ),
    layouts=(("model.pt",),),
    folders=("moge-2", "moge"),
)

_VAS_LAYOUT = (
    "scheduler/scheduler_config.json",
    *(f"{part}/config.json" for part in ("unet", "vae", "image_encoder")),
    "unet/diffusion_pytorch_model*.safetensors",
    "vae/diffusion_pytorch_model*.safetensors",
    "image_encoder/model*.safetensors",
)
_VAS_FILES = ("model_index.json", "*/config.json", "scheduler/*.json", "feature_extractor/*.json", "*/*.safetensors", "LICENSE*")


def _vas(key: str, what: str, repo: str) -> Checkpoint:
    source = Source(repo, NO_LICENCE, patterns=_VAS_FILES)
    return Checkpoint(key, f"Diffusion-VAS ({what})", "occlusion", "optional", (source,), (_VAS_LAYOUT,))


VAS_AMODAL = _vas("vas-amodal", "outlines", "kaihuac/diffusion-vas-amodal-segmentation")
VAS_CONTENT = _vas("vas-content", "completion", "kaihuac/diffusion-vas-content-completion")

DEPTH_ANYTHING = Checkpoint(
    key="depth-anything",
    name="Depth-Anything-V2",
    seat="occlusion",
    need="optional",
    sources=(
        Source(
            "depth-anything/Depth-Anything-V2-Large-hf",
            NON_COMMERCIAL,
            revision="7581137eff8d4e94f6e796d3baea0e9fa79b22d2",
            files=(PublishedFile("model.safetensors", 1_341_322_868, "4e01e34ed5549b529b70b92d53226bc370f03041977b390d3dde45d47f516cf9"),),
            patterns=("config.json", "preprocessor_config.json"),
        ),
    ),
    layouts=(("config.json", "model.safetensors"),),
    foreign={"../depth_anything_v2_vitl.pth": "the original form, which is not read"},
)

CHECKPOINTS = (SAM3, SAM3D_BODY, MOGE, VAS_AMODAL, VAS_CONTENT, DEPTH_ANYTHING)
"""Every checkpoint the presets may want, those that ``sam`` cannot do without first."""


def roots(settings: WeightsSettings) -> tuple[Path, ...]:
    """Folders that may hold checkpoints: the one told, else $BODY4D_WEIGHTS, a Space's disk and the user's cache."""
    told = settings.folder or os.environ.get(FOLDER_VARIABLE)
    if told:
        return (Path(told).expanduser(),)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return SPACE_DISK / "checkpoints", cache / "body4d" / "weights"


def hub_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where huggingface_hub keeps what other programs downloaded ($HF_HUB_CACHE, else $HF_HOME/hub), read without importing it."""
    if told := environment.get("HF_HUB_CACHE"):
        return Path(told).expanduser()
    home = environment.get("HF_HOME") or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"


def told_place(model: Checkpoint, settings: WeightsSettings) -> Path | None:
    """The file or folder the settings name for this one model."""
    told = getattr(settings, model.key.replace("-", "_"))
    return Path(told).expanduser() if told else None


def candidates(model: Checkpoint, settings: WeightsSettings) -> Iterator[Path]:
    """Places that may hold ``model``, best first, whether or not anything is there.

    A place told for the model itself is the only one; a root told is the only root; otherwise the cache that huggingface_hub keeps for
    all programs comes last, at the pinned revision first.
    """
    if told := told_place(model, settings):
        yield told
        return
    for root in roots(settings):
        yield from (root / name for name in model.folder_names)
    if settings.folder or os.environ.get(FOLDER_VARIABLE):
        return
    for source in model.sources:
        snapshots = hub_cache() / f"models--{source.repo.replace('/', '--')}" / "snapshots"
        if source.revision:
            yield snapshots / source.revision
        yield from sorted(snapshots.glob("*"))


def whole(model: Checkpoint, place: Path) -> bool:
    """Whether ``place`` has the files of a checkpoint that is read here (a file told by name is taken at its word). Sizes are not asked."""
    return place.is_file() or any(all(_holds(place, pattern) for pattern in layout) for layout in model.layouts)


def holds_rig(place: Path) -> bool:
    """Whether the rig comes with a checkpoint of SAM-3D-Body: beside it, or inside as in ComfyUI's file."""
    folder = place.parent if place.is_file() else place
    inside = place.match(_REPACKS[0]) if place.is_file() else any(_holds(folder, pattern) for pattern in _REPACKS)
    return inside or any((folder / name).is_file() for name in _RIGS)


def find(model: Checkpoint, settings: WeightsSettings) -> Path | None:
    """The place of ``model``: the first that is whole, else the first that holds anything, so that its reader can say what; or None."""
    places = [place for place in candidates(model, settings) if place.is_file() or _anything(place)]
    complete = [place for place in places if whole(model, place)]
    return next((place for place in complete if _intact(model, place)), (complete or places or [None])[0])


def place(model: Checkpoint, settings: WeightsSettings) -> Path:
    """The place of ``model``. Raises WeightsError that says where it was looked for and what to do."""
    found = find(model, settings)
    if found is None:
        raise WeightsError(f"{model.name} has no checkpoint here (looked in {looked_in(model, settings)}): {get_it(model)}.")
    return found


def looked_in(model: Checkpoint, settings: WeightsSettings) -> str:
    """The places of :func:`candidates` in words."""
    told = told_place(model, settings)
    return str(told) if told else " and ".join(str(root) for root in roots(settings))


def get_it(model: Checkpoint) -> str:
    """How a checkpoint is got, as the end of a sentence."""
    return (
        f"`body4d weights download {model.key}` fetches it, or put the files of {model.sources[0].page} into a folder "
        f"{model.sources[0].folder} there, or name the folder above it with --weights"
    )


def _holds(folder: Path, pattern: str) -> bool:
    return any(path.is_file() for path in folder.glob(pattern))


def _intact(model: Checkpoint, place: Path) -> bool:
    """Whether no weight file of a place ends early, as far as its form tells."""
    patterns = {pattern for layout in model.layouts for pattern in layout}
    files = [place] if place.is_file() else [path for pattern in patterns for path in place.glob(pattern)]
    return not any(cut_short(path) for path in files)


def _anything(folder: Path) -> bool:
    """Whether a folder holds more than what begins with a dot: a download's own files are nothing yet."""
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
