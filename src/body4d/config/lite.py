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
    """Fitting Anny to landmarks and silhouettes (preset lite). Standard deviations say how far each witness is to be trusted."""

    landmark_sigma_of_height: float = Field(
        default=0.013, gt=0, description="BlazePose's own scatter, as a share of body height in the picture."
    )
    hand_sigma_factor: float = Field(
        default=1.5, gt=0, description="Knuckles are that much less certain: a few pixels wide, often blurred."
    )
    least_visibility: float = Field(
        default=0.05, gt=0, le=1, description="A hidden landmark still says something: its guess is near in the plane."
    )
    depth_sigma_m: float = Field(default=0.4, gt=0, description="BlazePose's depth errs by 0.1 m alike in all frames: as 0.4 in each.")
    acceleration_mps2: float = Field(default=18.0, gt=0, description="Acceleration of a joint that is ordinary; a sprinting hand has 50.")
    depth_acceleration_share: float = Field(
        default=0.5, gt=0, description="In depth no picture speaks, so motion is held calmer by this factor."
    )
    outlier_sigmas: float = Field(
        default=3.0, gt=0, description="Beyond this many standard deviations a witness loses its say (Geman-McClure)."
    )
    wall_deg: float = Field(default=3.5, gt=0, description="How softly joints stop at the end of their range.")
    held_sigma_m: float = Field(default=0.03, gt=0, description="Depth between hands on one grip: a fist's width.")
    held_across_sigma_m: float = Field(default=0.08, gt=0, description="The same across the ray, for hands that are hidden: two fists.")
    floor_sigma_m: float = Field(default=0.06, gt=0, description="Resting feet over one floor: grass, a camera 8 degrees off level.")
    balance_sigma_m: float = Field(default=0.10, gt=0, description="Trunk over planted feet, in depth: a person at rest does not topple.")
    feet_apart_m: float = Field(
        default=0.09, gt=0, description="Ankles, heels, toes and knees of the two legs are at least this far apart."
    )
    trunk_radius_m: float = Field(default=0.15, gt=0, description="Elbows and wrists keep this far from the trunk's axis.")
    apart_sigma_m: float = Field(default=0.02, gt=0, description="How softly bodies' parts push each other away.")
    turn_acceleration_deg: float = Field(
        default=2.0, gt=0, description="Second difference of a joint's turn per frame that is still ordinary."
    )
    outline_sigma_of_height: float = Field(default=0.01, gt=0, description="Clothes stand off the body by 1 to 3 cm.")
    outline_points: int = Field(default=96, ge=8, description="Points of each mask's outline that draw the body; more adds time, not fit.")
    surface_points: int = Field(default=1500, ge=200, description="Sample of the body's surface that outline points may pick from.")
    shape_frames: int = Field(default=24, ge=1, description="Frames, spread over the clip, from which the one shape is taken.")
    shape_sigma: float = Field(default=0.15, gt=0, description="Spread of Anny's phenotypes around the middle of their range.")
    shape_independent_frames: float = Field(default=2.0, gt=0, description="Landmarks err alike in all frames: they count as this many.")
    shape_rounds: int = Field(default=4, ge=0, description="Times the shape is linearised anew; it settles after three.")
    pose_rounds: int = Field(default=3, ge=1, description="Times outlines are matched anew while poses settle.")
    steps_per_round: int = Field(default=5, ge=1, description="Gauss-Newton steps between two matchings of outlines.")
    chunk_frames: int = Field(default=480, ge=32, description="Frames solved together; bounds memory (about 1 MB a frame).")
    overlap_frames: int = Field(default=32, ge=4, description="Frames two chunks share; coupling between frames dies out within ten.")


class ContactSettings(Section):
    """When a foot rests and when two hands hold one thing, told from the picture."""

    rest_window_s: float = Field(default=0.3, gt=0, description="A foot must stay for this long; a running foot is down for 0.1 to 0.2 s.")
    rest_of_height: float = Field(
        default=0.025, gt=0, description="It moves less than this share of body height meanwhile: landmark scatter."
    )
    held_of_height: float = Field(default=0.13, gt=0, description="Hands on one grip are this near in the picture: 0.2 m on an adult.")
    held_pause_s: float = Field(default=0.3, ge=0, description="Blur parts the landmarks of joined hands for a few frames.")
    held_least_s: float = Field(default=0.5, gt=0, description="Hands that only pass each other are near for less.")
    held_travel_of_height: float = Field(default=0.25, gt=0, description="Joined hands move together; folded ones rest.")
