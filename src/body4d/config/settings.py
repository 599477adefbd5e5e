"""The tree of public settings, and its sections on the clip, the people, the result and the machine."""

from typing import Annotated, Literal

from pydantic import Field

from body4d.config.models import BlazePoseSettings, FitSettings, MogeSettings, OcclusionSettings, Sam3dBodySettings, Sam3Settings
from body4d.config.section import SPEED_ONLY, Section
from body4d.config.serving import AppSettings, SpaceSettings

X264Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"]


class VideoSettings(Section):
    """Which frames of the video are used, and at what size."""

    start_s: float | None = Field(
        default=None, ge=0, description="First moment that is used, in seconds of playback. A later one leaves out more of the beginning."
    )
    end_s: float | None = Field(
        default=None, gt=0, description="Last moment that is used, in seconds of playback. A later one takes in more of the end."
    )
    fps: float | None = Field(
        default=None,
        gt=0,
        description="At most this many frames a second are used; frames are never invented. A higher rate follows fast motion better and "
        "takes proportionally longer. Without it every frame is used.",
    )
    rotate_deg: Literal[0, 90, 180, 270] = Field(
        default=0,
        description="The film is turned clockwise by this many degrees, besides what the file itself prescribes: for a film that lies on "
        "its side or on its head because its tag was lost.",
    )
    max_side_px: int | None = Field(
        default=None,
        ge=64,
        description="Frames are shrunk so that their longer side is at most this. A larger one keeps more detail and takes longer. Without "
        "it frames keep their size.",
    )
    max_megapixels: float = Field(
        default=40.0,
        gt=0,
        description="Videos with larger frames are refused. A higher limit takes more memory: 8K has 33 megapixels, and a header that "
        "claims more is mostly damaged.",
    )


class PeopleSettings(Section):
    """Whom to follow."""

    count: Annotated[int, Field(ge=1)] | Literal["all", "main"] = Field(
        default="main", description="How many people are followed: a number (the most prominent), all, or the main subject or subjects."
    )
    min_height_share: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description=(
            "People smaller than this share of the picture's shorter side are left out, as their limbs are a few pixels wide. "
            "Lower values keep more distant people."
        ),
    )


class CameraSettings(Section):
    """The camera of the clip. Its focal length is from the first of fov_deg, focal_mm35, the file's metadata, MoGe-2 (sam), the default."""

    fov_deg: float | None = Field(
        default=None,
        gt=1,
        lt=170,
        description="Horizontal field of view in degrees. A wider one puts the same person nearer to the camera.",
    )
    focal_mm35: float | None = Field(
        default=None,
        gt=5,
        lt=2000,
        description="35 mm equivalent focal length in millimetres. A longer one puts the same person further from the camera.",
    )
    default_focal_mm35: float = Field(
        default=26.0,
        gt=5,
        lt=2000,
        description="35 mm equivalent focal length where nothing else gives one. A longer one puts people further away; main cameras of "
        "phones since 2016 have 24 to 28 mm.",
    )
    person_height_m: float | None = Field(
        default=None,
        gt=0.4,
        lt=2.6,
        description="Height of the main person in metres. It fixes the scale of all sizes and distances. Without it preset lite assumes "
        "the mean of the person's age and sex.",
    )
    motion: Literal["auto", "static", "rotating", "moving"] = Field(
        default="auto",
        description="How the camera moves: static stands still, rotating turns and zooms in one place (a tripod), moving changes its place "
        "too; auto finds out from the background. Where its path cannot be found, bodies stay in the camera's axes of their frame, "
        "and there is no floor.",
    )


class MotionSettings(Section):
    """The smoother and the feet. Seconds are of real movement: slow motion is undone first."""

    enabled: bool = Field(default=True, description="Whether motion is smoothed. Without it every frame stays as it was recovered.")
    min_cutoff_hz: float = Field(
        default=1.5,
        gt=0,
        description="Lowest cut-off frequency of the smoother, used wherever a joint moves slowly. Raised, slow motion keeps more detail "
        "and more noise; body sway and slow gestures lie below 1 Hz.",
    )
    outlier_sigmas: float = Field(
        default=8.0,
        gt=0,
        description="A single frame further than this many sigmas of the noise from its neighbours is ignored. Raised, fewer frames are "
        "ignored and more wrong ones stay.",
    )
    max_gap_s: float = Field(
        default=1.0,
        ge=0,
        description="Gaps in which a person is not seen are bridged up to this length. Raised, longer gaps are filled with motion that is "
        "mostly a guess; longer gaps stay empty.",
    )
    ground: Literal["auto", "off"] = Field(
        default="auto",
        description="Whether feet in contact with the floor are held in place: auto, where the camera stands still; off, never.",
    )
    max_foot_correction_m: float = Field(
        default=0.25,
        gt=0,
        description="Feet in contact are moved back by up to this distance; further off, they are moved less, and from twice this distance "
        "not at all, because the contact is wrong or the foot did move. Raised, larger slides are corrected, and some true steps too.",
    )


class PictureSettings(Section):
    """The rendered pictures: ``overlay.mp4``, ``views.mp4`` and the contact sheet."""

    enabled: bool = Field(default=True, description="Pictures are rendered. With false a run writes numbers and the GLB only.")
    audio: bool = Field(default=False, description="The clip's sound is copied into overlay.mp4.")
    overlay_opacity: float = Field(
        default=0.82, gt=0, le=1, description="Opacity of bodies over the video. A higher one hides more of the person behind the body."
    )
    show_uncertainty: bool = Field(
        default=False, description="Parts of a body turn from the person's colour to magenta as the smoother is less certain of them."
    )
    max_overlay_px: int = Field(
        default=1920,
        ge=16,
        description="The longer side of overlay.mp4 is at most this. A larger one keeps more detail; 4K takes four times as long to write.",
    )
    panel_height_px: int = Field(
        default=720,
        ge=180,
        le=2160,
        description="Height of views.mp4: small clips are enlarged to it, large ones shrunk. A larger one takes longer to render.",
    )
    samples_per_pixel: Literal[1, 4, 8] = Field(
        default=4,
        description="Samples that the renderer takes in each pixel. 1 gives jagged edges, 4 clean ones, and 8 takes half as long again.",
    )
    num_sheet_frames: int = Field(
        default=10, ge=1, le=40, description="Frames on the contact sheet. With more of them each is smaller; 8 to 12 are seen at a glance."
    )
    num_workers: int | None = Field(
        default=None,
        ge=1,
        le=16,
        description=(
            "Threads that render frames in parallel; if unset, one per core and at most 16. More are faster up to the number of cores; "
            "each holds a few pictures."
        ),
        json_schema_extra=SPEED_ONLY,
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto",
        description="What draws the bodies. auto takes cuda where preset sam's networks run on it and Triton is installed, else cpu. The "
        "pictures are the same within rounding. Where the GPU fails, the CPU draws on and a warning says so.",
        json_schema_extra=SPEED_ONLY,
    )
    encoder: Literal["auto", "x264", "nvenc"] = Field(
        default="auto",
        description="What encodes the videos, as H.264 in any case. auto takes nvenc, the encoder on NVIDIA's cards, where it works, else "
        "x264 on the CPU. Cards for data centres such as A100 and H200 have none.",
    )
    encode_crf: float = Field(
        default=18.0,
        ge=0,
        le=51,
        description="x264's constant rate factor of the videos, or NVENC's constant quality on the same scale. A higher one gives smaller "
        "files of lower quality; 18 hardly shows.",
    )
    encode_preset: X264Preset = Field(
        default="veryfast",
        description="x264's preset. A slower one gives smaller files of the same quality and encodes more slowly than the renderer draws. "
        "NVENC always takes its own p5.",
    )


class ComputeSettings(Section):
    """The device and the precision of preset sam's networks, and how much of them runs at once."""

    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        default="auto", description="Device that the networks run on. auto takes the first of cuda, mps and cpu that is available."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Precision of the large networks. On cuda auto takes what their publishers run them in (float16 for SAM-3D-Body "
        "and MoGe-2, bfloat16 for SAM-3) and bfloat16 for Diffusion-VAS, elsewhere float32. Bodies and geometry are always computed in "
        "float32.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether to compile the image encoders of SAM-3D-Body and SAM-3, which takes about 15 s. auto does so on cuda only "
        "where Triton is missing, whose kernels are as fast without the wait, and where the clip is long enough to win the time back. "
        "Results differ by rounding at most.",
        json_schema_extra=SPEED_ONLY,
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Number of crops, frames or people that go through a network at once. If unset, as many as free memory holds. A larger "
        "batch is faster on a GPU and takes more memory; results differ by rounding at most.",
        json_schema_extra=SPEED_ONLY,
    )
    keep_loaded: bool = Field(
        default=False,
        description="Whether the networks of preset sam stay in memory from one clip to the next, for a process that runs many. Together "
        "they take some 17 GB, of which Diffusion-VAS 10. `body4d batch` keeps them on a GPU of 40 GB and more, unless this says "
        "otherwise.",
        json_schema_extra=SPEED_ONLY,
    )
    max_memory_share: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Largest share of free memory that a batch may take. A larger share allows larger batches, and leaves less for "
        "intermediate results and other programs.",
        json_schema_extra=SPEED_ONLY,
    )


class WeightsSettings(Section):
    """Where checkpoints are, and how they are fetched."""

    folder: str | None = Field(
        default=None,
        description="Folder with a folder for each model. Unset: $BODY4D_WEIGHTS, else /data/checkpoints and ~/.cache/body4d/weights, then "
        "the cache that huggingface_hub keeps for all programs ($HF_HOME).",
    )
    sam3: str | None = Field(default=None, description="Folder of SAM-3, wherever it is. It is used instead of the one below the folder.")
    sam3d_body: str | None = Field(default=None, description="Folder or file of SAM-3D-Body, wherever it is.")
    moge: str | None = Field(default=None, description="Folder or file of MoGe-2, wherever it is.")
    vas_amodal: str | None = Field(default=None, description="Folder of Diffusion-VAS for outlines, wherever it is.")
    vas_content: str | None = Field(default=None, description="Folder of Diffusion-VAS for completion, wherever it is.")
    depth_anything: str | None = Field(default=None, description="Folder of Depth-Anything-V2, wherever it is.")
    blazepose: str | None = Field(default=None, description="Folder with BlazePose's model files (preset lite), wherever it is.")
    num_connections: int = Field(
        default=4,
        ge=1,
        le=16,
        description="Number of files that are fetched side by side. More seldom helps, and the Hub limits rates.",
        json_schema_extra=SPEED_ONLY,
    )
    max_retries: int = Field(
        default=5,
        ge=0,
        description="Number of cut connections or busy answers in a row, without a byte gained, after which a download is given up. Raise "
        "it on a poor line.",
        json_schema_extra=SPEED_ONLY,
    )


class Settings(Section):
    """All settings, in one section for each subject."""

    preset: Literal["auto", "lite", "sam"] = Field(
        default="auto",
        description="Which models are used: lite (any CPU), sam (a GPU and the official checkpoints), or auto, which takes sam where both "
        "are found and lite otherwise.",
    )
    video: VideoSettings = VideoSettings()
    people: PeopleSettings = PeopleSettings()
    blazepose: BlazePoseSettings = BlazePoseSettings()
    camera: CameraSettings = CameraSettings()
    moge: MogeSettings = MogeSettings()
    sam3: Sam3Settings = Sam3Settings()
    sam3d_body: Sam3dBodySettings = Sam3dBodySettings()
    occlusion: OcclusionSettings = OcclusionSettings()
    compute: ComputeSettings = ComputeSettings()
    weights: WeightsSettings = WeightsSettings()
    fit: FitSettings = FitSettings()
    motion: MotionSettings = MotionSettings()
    pictures: PictureSettings = PictureSettings()
    space: SpaceSettings = SpaceSettings()
    app: AppSettings = AppSettings()
