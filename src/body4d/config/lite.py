"""The models of preset lite."""

from pydantic import Field

from body4d.config.section import SPEED_ONLY, Section


class BlazePoseSettings(Section):
    """Finding and following people with BlazePose (preset lite)."""

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

    landmark_sigma_per_height: float = Field(
        default=0.013,
        gt=0,
        description=(
            "Standard deviation of BlazePose's landmarks, as a share of body height in the picture. "
            "Higher values follow the picture less closely and move more calmly."
        ),
    )
    depth_sigma_m: float = Field(
        default=0.4,
        gt=0,
        description=(
            "Standard deviation of BlazePose's depth. It errs by about 0.1 m alike in all frames, which weighs as much as 0.4 m in each. "
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
        description="Frames solved together. Higher values take more memory (about 1 MB per frame) and have fewer seams between chunks.",
    )
