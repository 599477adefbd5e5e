"""What can be chosen of the models: preset lite's first, then preset sam's."""

from typing import Literal

from pydantic import Field

from body4d.config.section import SPEED_ONLY, Section


class BlazePoseSettings(Section):
    """Finding and following people with BlazePose (preset lite)."""

    landmarks: Literal["auto", "heavy", "full"] = Field(
        default="auto",
        description=(
            "BlazePose's landmark model for people who are followed. auto takes heavy where it is here or can be fetched (28 MB), else "
            "full. On a real clip with measured 3D, heavy lowered the error of joints (MPJPE) from 291 to 84 mm and jitter to a third."
        ),
    )
    num_workers: int = Field(
        default=2,
        ge=1,
        le=16,
        json_schema_extra=SPEED_ONLY,
        description="Number of people whose landmarks are computed at a time, on one core each. More workers than cores gain nothing.",
    )
    max_people: int = Field(
        default=16,
        ge=1,
        description="Maximum number of people followed at a time; the largest are preferred. Each costs about 12 ms per frame.",
    )
    detect_every_s: float = Field(
        default=1.0,
        gt=0,
        description=(
            "Interval at which the whole picture is searched for new people; it doubles up to 2 s while nobody new is found. "
            "A longer interval is faster (a search takes 0.2 to 0.4 s) and finds people later."
        ),
    )
    min_start_visibility: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description=(
            "Mean visibility of the joints from which a detection starts a new person. "
            "Higher values find fewer people, and fewer who are none."
        ),
    )
    min_keep_visibility: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description=(
            "Mean visibility of the joints below which a person counts as lost on a frame. "
            "Higher values give more gaps and fewer wrong poses."
        ),
    )
    max_lost_s: float = Field(
        default=2.5,
        ge=0,
        description=(
            "A person who comes back after a longer absence becomes a new person. "
            "Higher values join more tracks, sometimes those of two people."
        ),
    )


class FitSettings(Section):
    """Fitting Anny to landmarks and silhouettes (preset lite). A standard deviation says how far its observations are trusted."""

    sex: Literal["auto", "female", "male"] = Field(
        default="auto",
        description="Sex of the main person. With auto the body is between the two, without breasts: outlines of clothed people do not "
        "tell the sex.",
    )
    age_years: float | None = Field(
        default=None,
        ge=1,
        le=110,
        description="Age of the main person in years. It settles proportions and, where camera.person_height_m is not given, the height "
        "that is assumed. Without it everybody is an adult.",
    )
    landmark_sigma_per_height: float = Field(
        default=0.013,
        gt=0,
        description=(
            "Standard deviation of BlazePose's landmarks, as a share of body height in the picture. "
            "Higher values follow the picture less closely and move more calmly."
        ),
    )
    depth_sigma_m: float = Field(
        default=0.2,
        gt=0,
        description=(
            "Standard deviation of BlazePose's depth, besides a tilt of the whole body that its depths share. "
            "Higher values rely more on bone lengths, silhouettes and contact."
        ),
    )
    acceleration_m_s2: float = Field(
        default=18.0,
        gt=0,
        description="Ordinary acceleration of a joint; a sprinter's hand reaches 50. Lower values move more calmly and blunt fast motion.",
    )
    num_shape_frames: int = Field(
        default=24,
        ge=1,
        description="Number of frames, spread over the clip, from which the one body shape is fitted. More frames take longer.",
    )
    chunk_frames: int = Field(
        default=480,
        ge=32,
        description=(
            "Most frames solved together. A longer clip is cut into equal chunks, solved side by side, one per core. "
            "Higher values take more memory (about 0.6 MB per frame and core) and have fewer seams between chunks."
        ),
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


class OcclusionSettings(Section):
    """Hidden people (preset sam): who may be hidden, who is, and how they look as a whole, by Diffusion-VAS."""

    mode: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Where the networks look for hidden people: auto where masks say that somebody may be hidden, on everywhere, off "
        "nowhere. With off, and where nobody is completed, the smoother bridges hidden frames.",
    )
    num_steps: int = Field(
        default=25,
        ge=1,
        description="Steps of denoising (published: 25). The time is proportional to it; how much quality fewer steps cost was not "
        "measured.",
    )
    guidance: float = Field(
        default=1.5,
        ge=1,
        description="Weight of what the networks are shown, in denoising (published: 1.5). A larger value follows it more closely.",
    )
    seed: int = Field(
        default=23, ge=0, description="Seed of the noise that denoising begins with. Another seed gives another likely guess."
    )
    window_frames: int = Field(
        default=25,
        ge=2,
        description="Frames that the networks see at once at most; they were trained on 25. Longer stretches go in windows of even length "
        "that overlap. A larger value takes more memory.",
    )
    short_side_px: int = Field(
        default=256,
        ge=64,
        multiple_of=64,
        description="Shorter side, in pixels, of what the networks see (published: 256). The time grows faster than the number of pixels.",
    )
    long_side_px: int = Field(
        default=512,
        ge=64,
        multiple_of=64,
        description="Longer side, in pixels, of what the networks see (published: 512). 512 and 1024 pixels take five times as long as 256 "
        "and 512.",
    )
    upstream_exact: bool = Field(
        default=True,
        description="Whether two slips of the published code are repeated: embeddings in a scrambled order, and red and blue exchanged for "
        "the depth network. Whether the right order is better was not measured.",
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
