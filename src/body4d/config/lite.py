"""The models of preset lite."""

from pydantic import Field

from body4d.config.section import Section


class BlazePoseSettings(Section):
    """Finding and following people with BlazePose (preset lite)."""

    lanes: int = Field(
        default=2, ge=1, le=16, description="People looked at side by side; one core each. More lanes than cores gain nothing."
    )
    most_people: int = Field(default=16, ge=1, description="At most so many are followed at a time: each costs about 12 ms a frame.")
    detect_every_s: float = Field(
        default=1.0, gt=0, description="The whole picture is searched for new people this often; it costs 0.2-0.4 s."
    )
    detect_every_most_s: float = Field(
        default=2.0, gt=0, description="... and, as long as nobody new is found, twice as long each time up to this."
    )
    glance_every_s: float = Field(
        default=0.2,
        gt=0,
        description="The largest tiles alone are searched this often, for people who come near; it costs about 20 ms.",
    )
    check_every_s: float = Field(
        default=0.07, gt=0, description="The detector looks so often around people lost or near others: regions drift to neighbours."
    )
    near_share: float = Field(default=0.5, ge=0, description="People stand near each other when closer than this share of their region.")
    region_same_share: float = Field(
        default=0.05, gt=0, description="Regions whose centres lie nearer than this share of their side are one."
    )
    region_same_share_alone: float = Field(default=0.25, gt=0, description="... or this share, where nobody else is near.")
    tile_shares: tuple[float, ...] = Field(
        default=(1.0, 0.67, 0.46),
        description="Sides of the square search tiles as shares of the shorter side; a person should fill a tile.",
    )
    tile_overlap: float = Field(
        default=0.34, ge=0, lt=1, description="Overlap of neighbouring tiles, so that nobody is always cut by a rim."
    )
    least_tile_px: int = Field(default=64, ge=8, description="Smaller tiles hold nobody that could be told apart.")
    region_same_ratio: float = Field(default=1.4, gt=1, description="... and whose sides differ by less than this factor.")
    region_most_share: float = Field(
        default=4.0, gt=0, description="Regions wider than this many longer sides of the picture come of exploded landmarks."
    )
    first_visibility: float = Field(default=0.5, ge=0, le=1, description="Mean visibility from which on a find begins a new person.")
    keep_visibility: float = Field(default=0.25, ge=0, le=1, description="Mean visibility below which a person counts as lost on a frame.")
    duplicate_oks: float = Field(default=0.6, ge=0, le=1, description="Two sightings whose joints agree this well (OKS) are one person.")
    duplicate_loose_oks: float = Field(
        default=0.25, ge=0, le=1, description="... or this well, where their masks cover each other as well."
    )
    duplicate_mask_iou: float = Field(
        default=0.7, ge=0, le=1, description="Two masks with a larger IoU are one person, whatever the joints say."
    )
    new_covered_most: float = Field(default=0.5, ge=0, le=1, description="Someone new may share this much of their mask with others.")
    grown_s: float = Field(
        default=0.5, gt=0, description="Who is followed for less gives way to who is followed for longer, in proportion."
    )
    duplicate_mask_overlap: float = Field(default=0.75, ge=0, le=1, description="Shared area by the smaller mask from which on they cover.")
    reach_sizes: float = Field(default=0.25, gt=0, description="How far the torso may lie from where it is expected, in body sizes.")
    reach_sizes_per_s: float = Field(default=0.8, ge=0, description="... and how much farther for each second unseen: a brisk walk.")
    reach_most_sizes: float = Field(default=1.5, gt=0, description="... and at most, however long unseen.")
    doubt_most: float = Field(
        default=1.2,
        gt=0,
        le=2,
        description="Place and colours, each as a share of the farthest allowed, may add up to this: not both may be poor.",
    )
    size_ratio: float = Field(
        default=1.4, gt=1, description="Nobody's body circle grows or shrinks by more than this factor from frame to frame,"
    )
    size_ratio_per_s: float = Field(default=1.0, ge=0, description="... this much more for each second unseen: people crouch and rise,")
    size_ratio_most: float = Field(default=2.0, gt=1, description="... and never by more than this factor.")
    colour_weight: float = Field(default=1.0, ge=0, description="Cost of entirely different colours, in body sizes of distance.")
    colour_most: float = Field(
        default=0.42, ge=0, le=1, description="Whoever wears colours farther off than this is somebody else (same person: 99% below 0.33)."
    )
    colour_most_after_absence: float = Field(
        default=0.35, ge=0, le=1, description="... and after an absence this: 1% of other people lie within 0.26, 25% within 0.44."
    )
    likeness_colour_weight: float = Field(
        default=3.0, ge=0, description="Weight of like colours against like joints where two sightings of one person compete."
    )
    sure_s: float = Field(default=0.1, ge=0, description="Absence up to which a person counts as seen without a break.")
    colour_memory: float = Field(default=0.02, gt=0, le=1, description="Share of the newest frame in a person's remembered colours.")
    place_fades_s: float = Field(default=0.5, gt=0, description="Absence after which the place counts half as much as before.")
    velocity_window_s: float = Field(default=0.25, gt=0, description="A person's speed is the slope of the torso's place over this time.")
    velocity_fades_s: float = Field(default=0.5, gt=0, description="An unseen person's speed is believed for about this long.")
    guess_s: float = Field(default=0.4, ge=0, description="A lost person is looked for at the guessed place on every frame for this long.")
    reidentify_s: float = Field(default=2.5, ge=0, description="A person unseen for longer is somebody new on coming back.")
    front_weight: float = Field(
        default=1.0, ge=0, description="Weight of standing in front against the mask's own strength where masks overlap."
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
