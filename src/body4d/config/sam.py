"""The models of preset sam."""

from typing import Literal

from pydantic import Field

from body4d.config.section import SPEED_ONLY, Section


class MogeSettings(Section):
    """The focal length by MoGe-2 (preset sam), where neither the user nor the file's metadata gives it."""

    num_frames: int = Field(
        default=8,
        ge=1,
        description="How many frames, spread over the clip, the focal length is estimated on; their median is taken. More frames take "
        "longer and are less easily misled by a few bad ones.",
    )
    detail: float = Field(
        default=9.0,
        ge=0,
        le=9,
        description="How finely each of those frames is cut into patches: 0 is the coarsest, 9 the finest. The number of patches, and "
        "with it the time, grows threefold from end to end.",
    )


class Sam3Settings(Section):
    """Finding and following people with SAM-3 (preset sam)."""

    text: str = Field(
        default="person", min_length=1, description="The text by which people are detected where no prompt says whom to follow."
    )
    detect_every_frames: int = Field(
        default=4,
        ge=1,
        description="The detector runs on every n-th frame; published: on every frame. A larger number is faster, and people who come "
        "into sight are noticed later.",
    )
    min_detection_score: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Detections of a lower probability are dropped. Raising it loses people who are hard to see; lowering it lets in "
        "what is nobody.",
    )
    min_new_track_score: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Probability that a detection needs to begin a new person's track. Raising it delays or loses people; lowering it "
        "begins tracks on what is nobody.",
    )
    max_people: int = Field(
        default=16,
        ge=1,
        description="At most so many people are tracked at a time; the run warns where there are more. Each one takes about a seventh of "
        "the time of encoding the frame.",
    )
    memory_s: float = Field(
        default=300.0,
        ge=0,
        description="A person who comes back after being out of sight for longer, in seconds, is a new person. Raising it also raises the "
        "chance that somebody else in like colours is taken for them.",
    )
    keep_loaded: bool = Field(
        default=False,
        json_schema_extra=SPEED_ONLY,
        description="Whether the weights stay in memory from one clip to the next, for a process that segments again and again, such as "
        "the app. It saves loading and takes 3.4 GB.",
    )


class Sam3dBodySettings(Section):
    """Bodies by SAM-3D-Body (preset sam)."""

    mode: Literal["full", "body"] = Field(
        default="full",
        description="How much of a person goes through the network. full adds both hands in crops of their own, which takes three times "
        "as long as body.",
    )
    mask_prompt: bool = Field(
        default=True,
        description="Whether the network gets each person's mask besides their box. With it, it recovers the right person where people "
        "overlap.",
    )
    min_confidence: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Smallest confidence of a frame whose body lies beside the person's mask. A higher value lets such frames count more "
        "in smoothing.",
    )
    upstream_exact: bool = Field(
        default=False,
        description="Whether to repeat slips of the published code outside its networks, for comparing numbers: the wrist test with the "
        "hands' boxes swapped, the last projection about the picture's middle, rotations from before the hands are merged, and prompts "
        "left out for a single person.",
    )


class OcclusionSettings(Section):
    """Hidden people (preset sam): who may be hidden, who is, and what they look like in full, by Diffusion-VAS."""

    mode: Literal["auto", "on", "off"] = Field(
        default="auto", description="auto: look only where somebody may be hidden; on: at everybody throughout; off: bridge as lite does."
    )
    touch_of_height: float = Field(
        default=0.03, ge=0, description="Masks this near, as a share of the person's height, touch: masks are tight, and leave a gap."
    )
    intruder_share: float = Field(
        default=0.01, ge=0, description="Share of a person's box that somebody touching must cover: less hides a hand at most."
    )
    front_of_height: float = Field(
        default=0.05,
        ge=0,
        description="Who stands lower in the picture is nearer; within this share of the height it cannot be told who is in front.",
    )
    history_s: float = Field(default=2.0, gt=0, description="A mask is compared with the person's own this far back and ahead.")
    usual_quantile: float = Field(
        default=0.8, gt=0, lt=1, description="Usual area and height: high among those of the history, as being hidden only takes away."
    )
    area_least_share: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="A mask of less than this share of its usual area may be hidden: a turn to the side leaves 0.7.",
    )
    both_least_share: float = Field(
        default=0.7, gt=0, lt=1, description="... or one of less than this share of both area and height: who bends down keeps the area."
    )
    keypoint_least: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Mean visibility of the body's joints below which a person may be hidden, where joints are known.",
    )
    rim_share: float = Field(
        default=0.05,
        ge=0,
        lt=0.5,
        description="Published: whoever lies within this share of the picture's rim leaves it, and is not hidden.",
    )
    join_frames: int = Field(default=4, ge=0, description="Stretches this few frames apart are looked at as one.")
    pad_frames: int = Field(default=2, ge=0, description="Published: a hidden stretch begins this much earlier and ends this much later.")
    hidden_iou: float = Field(
        default=0.7, gt=0, le=1, description="Published: hidden where the part that is seen and the whole outline overlap by less (IoU)."
    )
    mask_least: float = Field(
        default=0.7843, gt=0, lt=1, description="Published: brightness of the painted outline from which on a pixel belongs to the person."
    )
    long_most_share: float = Field(
        default=0.7, gt=0, le=1, description="Published: an outline that spans this share of the picture's width or height is not credible,"
    )
    long_growth: float = Field(
        default=1.5,
        ge=1,
        description="... where it is this many times the person's usual size too: in portrait clips people fill the picture.",
    )
    thin_least_ratio: float = Field(
        default=0.2, gt=0, lt=1, description="Published: an outline whose box is narrower than this is not credible,"
    )
    thin_of_seen: float = Field(
        default=0.8, gt=0, description="... unless what is seen has this share of its own thinness: people stand sideways."
    )
    jump_of_height: float = Field(
        default=0.25, gt=0, description="An outline that leaps by this share of its height against what is seen is not credible,"
    )
    jump_area_ratio: float = Field(default=1.8, gt=1, description="... nor one that grows by this factor from a frame to the next.")
    region: Literal["person", "frame"] = Field(
        default="person",
        description="What the networks look at: the person's surroundings, or as published the whole frame. Which is better was not told.",
    )
    region_padding: float = Field(default=1.4, ge=1, description="Surroundings of a person, as a factor of the box of their stretch.")
    short_side_px: int = Field(
        default=256, ge=64, multiple_of=64, description="Shorter side of what the networks see: as Diffusion-VAS publishes it,"
    )
    long_side_px: int = Field(
        default=512, ge=64, multiple_of=64, description="... and the longer one. 512 and 1024 take five times as long."
    )
    window_frames: int = Field(
        default=25,
        ge=2,
        description="Frames the networks see at once at most: as many as they were trained on. Windows are even, so shorter.",
    )
    overlap_frames: int = Field(default=5, ge=1, description="Frames that neighbouring windows of a long stretch share at least.")
    steps: int = Field(
        default=25, ge=1, description="Published steps of denoising. Half as many take half the time; the loss was not measured."
    )
    guidance: float = Field(default=1.5, ge=1, description="Published: how far the pictures told are followed.")
    seed: int = Field(default=23, ge=0, description="Of the noise that denoising begins with. Each frame of each person has its own.")
    decode_frames: int = Field(default=8, ge=1, description="Published: frames decoded as one. Another number changes results.")
    upstream_exact: bool = Field(
        default=True,
        description="Embeddings in the scrambled order of the published code. Whether the right order is the better one cannot be told "
        "without the weights, so the published one is kept.",
    )
    group_frames: int = Field(default=500, ge=25, description="Frames of stretches held in memory at once, about 3 MB each.")
    compile: Literal["on", "off"] = Field(
        default="off", description="Compile the UNet's blocks (CUDA): benchmarks/occlusion.py --compile on tells whether it pays."
    )
    window_seconds: dict[str, float] = Field(
        default={"H200": 3.8},
        description="Seconds a window of 25 frames, 25 steps and 256 x 512 takes through one pipeline, by a part of the device's name, as "
        "benchmarks/occlusion.py measures it; the estimate of the cost is made with it.",
    )
    confidence_least: float = Field(
        default=0.15, gt=0, le=1, description="Confidence of a frame where nothing is seen: the network's guess is near, but a guess."
    )
