"""Where the work is done and what for: device, checkpoints, doctor, Space and app."""

from typing import Literal

from pydantic import Field

from body4d.config.section import SPEED_ONLY, Section


class ComputeSettings(Section):
    """The device and the precision of preset sam's networks, and how much of them runs at once."""

    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        default="auto", description="Device that the networks run on. auto takes the first of cuda, mps and cpu that is available."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Precision of the large networks. auto takes bfloat16 on cuda and float32 elsewhere. Bodies and geometry are always "
        "computed in float32.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether to compile the image encoders of SAM-3D-Body and SAM-3, which takes about 15 s and makes them 1.6 times as "
        "fast on an H100. auto compiles on cuda, and only where the clip is long enough to win the time back; on also compiles the UNet of "
        "Diffusion-VAS. Results differ by rounding at most.",
        json_schema_extra=SPEED_ONLY,
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        description="Number of crops or frames that go through a network at once. If unset, as many as free memory holds. A larger batch "
        "is faster on a GPU and takes more memory; results differ by rounding at most.",
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


class SpaceSettings(Section):
    """The HuggingFace Space that `body4d space` makes, and how long its commands wait for it."""

    hardware: str = Field(
        default="l40sx1",
        description="The hardware that the Space asks for. An L40S has 48 GB, three times what preset sam needs for full speed; larger "
        "hardware costs more.",
    )
    sleep_s: int = Field(
        default=900,
        ge=-1,
        description="Seconds without a visitor after which paid hardware is put to sleep; -1 keeps it awake. With a higher value fewer "
        "visitors wait for a start, and it costs more.",
    )
    max_wait_s: float = Field(
        default=3600.0,
        gt=0,
        description="Longest time that a command waits until the Space runs. A first image downloads gigabytes; raise it where the network "
        "is slow.",
    )


class AppSettings(Section):
    """The browser application: what visitors may ask for, and how long it keeps their work. The page shows the limits before the upload."""

    folder: str | None = Field(
        default=None,
        description="Folder in which visitors' work is kept. If unset, /data/body4d where /data can be written, else a folder body4d in "
        "the temporary folder.",
    )
    max_megabytes: float = Field(
        default=200.0,
        gt=0,
        description="Largest file that is accepted; a minute of 1080p by a phone has 130 MB. With a higher value uploads may fill more of "
        "the disk.",
    )
    max_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Longest clip that is accepted. With a higher value one visitor's run may keep the others waiting for longer.",
    )
    max_frames: int = Field(
        default=3600,
        ge=1,
        description="Largest number of frames that is accepted; a minute at 60 frames/s has 3600. The time of a run grows with it.",
    )
    max_megapixels: float = Field(
        default=9.0,
        gt=0,
        description="Largest frame that is accepted; 4K has 8.3 megapixels. The memory and the time of a run grow with it.",
    )
    max_people: int = Field(
        default=4,
        ge=1,
        description="Largest number of people who are followed in one run. The time of a run grows with it.",
    )
    max_waiting: int = Field(
        default=20,
        ge=1,
        description="Largest number of runs that wait; further ones are refused. With a higher value the last one waits for longer.",
    )
    keep_hours: float = Field(
        default=24.0,
        gt=0,
        description="Time after which a visitor's work is deleted, counted from when it was last opened. With a higher value links work "
        "for longer, and more of the disk is taken.",
    )
    keep_gigabytes: float = Field(
        default=20.0,
        gt=0,
        description="Largest size of all work together. Beyond it, what has not been opened for longest is deleted first.",
    )
