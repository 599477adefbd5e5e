"""One tree of settings. Every threshold is a named field with its unit in the name and its reason beside it.

Order of precedence: defaults < YAML file < environment (``BODY4D_VIDEO__START_S=2``) < command-line flags.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class VideoSettings(_Section):
    """Which frames are looked at, and at what size."""

    start_s: float | None = Field(default=None, ge=0, description="First moment to look at, in seconds of playback.")
    end_s: float | None = Field(default=None, gt=0, description="Last moment to look at, in seconds of playback.")
    fps: float | None = Field(default=None, gt=0, description="Look at no more than this many frames a second; never invents frames.")
    max_side_px: int | None = Field(default=None, ge=64, description="Shrink frames so that the longer side is at most this.")
    max_megapixels: float = Field(default=40.0, gt=0, description="Larger frames are refused: 8K has 33; beyond lies mostly damage.")
    variable_rate_tolerance: float = Field(
        default=0.1, gt=0, description="Frame intervals within this share of their mean count as constant: phones jitter by a few percent."
    )
    capture_rate_tolerance: float = Field(
        default=0.2, gt=0, description="A capture rate within this share of the playback rate is no slow motion: 30 stands for 29.6 too."
    )
    queue_mb: float = Field(default=64.0, gt=0, description="Frames decoded ahead take at most this many megabytes; at least one is held.")
    seek_gap_frames: int = Field(default=48, ge=1, description="Jump to a key frame when that saves decoding this many frames.")
    encode_crf: float = Field(default=18.0, ge=0, le=51, description="x264 quality of written videos: 18 looks like the original.")
    encode_preset: str = Field(default="veryfast", description="x264 effort: encoding must not slow the renderer down on two cores.")


class PeopleSettings(_Section):
    """Whom to follow."""

    count: Annotated[int, Field(ge=1)] | Literal["all", "main"] = Field(
        default="main", description="How many people: a number, all, or the main subject(s)."
    )
    main_share: float = Field(
        default=0.5, gt=0, le=1, description="Whoever scores this share of the best (size x time seen x centrality) is a main subject too."
    )
    centre_spread: float = Field(
        default=0.7, gt=0, description="Distance from the centre, in half diagonals, at which centrality falls to 0.6."
    )
    least_seen_s: float = Field(
        default=0.5, ge=0, description="Shorter appearances are left out: nothing moves believably in them, and false finds are short."
    )
    least_seen_share: float = Field(
        default=0.1, ge=0, le=1, description="In clips too short for least_seen_s, the share of the clip someone must be seen in."
    )
    least_visibility: float = Field(
        default=0.45, ge=0, le=1, description="Mean visibility of the body's joints below which a person is seen in part only and left out."
    )
    least_height_share: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description="Whoever is smaller than this share of the picture's shorter side is left out: limbs of a few pixels.",
    )


class BlazePoseSettings(_Section):
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


class CameraSettings(_Section):
    """The one camera of the clip. Precedence: fov_deg, focal_mm35, the file's metadata, MoGe-2 (preset sam), the default."""

    fov_deg: float | None = Field(default=None, gt=1, lt=170, description="Horizontal field of view in degrees.")
    focal_mm35: float | None = Field(default=None, gt=5, lt=2000, description="35 mm equivalent focal length in millimetres.")
    default_focal_mm35: float = Field(default=26.0, description="Main camera of a phone: 24-28 mm on nearly all sold since 2016.")
    focal_agreement: float = Field(
        default=0.02, gt=0, description="fov_deg and focal_mm35, both given, may differ by this share: rounding of what a data sheet says."
    )
    person_height_m: float | None = Field(default=None, gt=0.4, lt=2.6, description="Height of the main person; fixes the scale.")
    motion: Literal["static", "moving"] = Field(
        default="static", description="moving: bodies stay in the camera's axes of their frame, and no floor is claimed to be fixed."
    )
    motion_frames: int = Field(default=9, ge=2, description="Frames, spread over the clip, whose background is compared.")
    motion_side_px: int = Field(default=480, ge=64, description="Longer side they are shrunk to: half a pixel is a thousandth of it.")
    motion_points: int = Field(default=400, ge=8, description="Corners followed from frame to frame at most; more tell no more.")
    motion_least_points: int = Field(default=20, ge=2, description="With fewer followed between two frames, nothing can be told.")
    motion_columns: int = Field(default=8, ge=1, description="Columns the picture is cut into; a part has one vote, however many corners.")
    motion_rows: int = Field(default=6, ge=1, description="... and its rows.")
    motion_least_parts: int = Field(default=6, ge=1, description="Corners in fewer parts may all belong to one thing that moves.")
    motion_same_share: float = Field(
        default=0.004, gt=0, description="Points this near to where they should be, as a share of the diagonal, agree: half of it is error."
    )
    motion_least_share: float = Field(
        default=0.01, gt=0, description="Rims that move by less of the diagonal stand still: half a degree with a phone, wind on a tripod."
    )
    motion_agreed_share: float = Field(default=0.5, gt=0, le=1, description="Share of the votes a movement needs: the background's.")
    motion_bent_share: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="... and these nearer than this share of the way moved: a turn moves a wide lens's rim farther.",
    )
    motion_ahead_share: float = Field(default=0.2, ge=0, le=1, description="... and by how much it must beat standing still.")
    motion_incoherent_share: float = Field(
        default=0.15, ge=0, le=1, description="Where fewer parts than this stand still, the camera travels past things at many distances."
    )
    motion_zoom_least: float = Field(default=1.03, gt=1, description="Pictures that grow by less than this factor are not called zoomed.")


class MogeSettings(_Section):
    """The focal length by MoGe-2 (preset sam), where nothing more certain tells it."""

    frames: int = Field(default=8, ge=1, description="Frames, spread over the clip, that are looked at; their median counts.")
    detail: float = Field(default=9.0, ge=0, le=9, description="Published measure of patches a picture is cut into: 9 is the finest.")
    mask_least: float = Field(default=0.5, gt=0, lt=1, description="Published: points less sure to be anything (sky) are not used.")
    points_least_share: float = Field(
        default=0.1, ge=0, le=1, description="A frame with a smaller share of sure points tells nothing about the lens."
    )
    solver_tolerance: float = Field(
        default=1e-3, gt=0, description="Published: the fit of a frame ends when a step gains a smaller share than this."
    )
    fov_least_deg: float = Field(default=5.0, gt=0, description="Narrower is no lens people are filmed with (400 mm has 5 degrees).")
    fov_most_deg: float = Field(default=130.0, lt=180, description="Wider is no lens without distortion (10 mm has 122 degrees).")
    spread_most: float = Field(
        default=0.15, gt=0, description="Frames whose focal lengths scatter by more than this share do not agree; the run then says so."
    )


class FitSettings(_Section):
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


class ContactSettings(_Section):
    """When a foot rests and when two hands hold one thing, told from the picture."""

    rest_window_s: float = Field(default=0.3, gt=0, description="A foot must stay for this long; a running foot is down for 0.1 to 0.2 s.")
    rest_of_height: float = Field(
        default=0.025, gt=0, description="It moves less than this share of body height meanwhile: landmark scatter."
    )
    held_of_height: float = Field(default=0.13, gt=0, description="Hands on one grip are this near in the picture: 0.2 m on an adult.")
    held_pause_s: float = Field(default=0.3, ge=0, description="Blur parts the landmarks of joined hands for a few frames.")
    held_least_s: float = Field(default=0.5, gt=0, description="Hands that only pass each other are near for less.")
    held_travel_of_height: float = Field(default=0.25, gt=0, description="Joined hands move together; folded ones rest.")


class MotionSettings(_Section):
    """The smoother, and where the floor is. Seconds are of real movement: slow motion is undone first."""

    enabled: bool = Field(default=True, description="False keeps every frame as it was recovered.")
    slowest_hz: float = Field(default=1.5, gt=0, description="Lowest cut-off: body sway and slow gestures lie below 1 Hz.")
    ladder_ratio: float = Field(default=1.5, gt=1, description="Each cut-off tried is this much higher than the one before.")
    false_alarms_per_s: float = Field(
        default=0.001, gt=0, description="How often noise alone may open one joint's band by one cut-off: rarely in a clip."
    )
    window_s: float = Field(default=0.1, gt=0, description="The band opens half of this before a stroke and closes as long after it.")
    window_frames: int = Field(default=1, ge=1, description="And this many frames at least.")
    outlier_sigmas: float = Field(
        default=8.0, gt=0, description="A frame this far off what its neighbours say, and alone in it, is not used."
    )
    outlier_ratio: float = Field(
        default=5.0, gt=1, description="And this many times further off than its neighbours: else it is fast motion."
    )
    detour_sigmas: float = Field(
        default=5.0, gt=0, description="A joint that leaps this far from one frame to the next, and soon back, was wrong meanwhile."
    )
    detour_ratio: float = Field(
        default=3.0, gt=1, description="And leaps this many times further than in the frames beside: a stroke gathers its speed, within 2."
    )
    detour_longest_s: float = Field(default=0.15, gt=0, description="A longer stay is a movement: nobody's limb is back sooner from one.")
    detour_quickest_s: float = Field(
        default=0.03, ge=0, description="A shorter stay may be as wild as it likes within: nobody's limb goes and comes back in it."
    )
    detour_longest_frames: int = Field(default=4, ge=1, description="And this many frames at least, for slow frame rates.")
    least_weight: float = Field(
        default=0.05, gt=0, le=1, description="A hidden joint's guess still counts this much, so that it stays near."
    )
    least_noise_deg: float = Field(default=0.1, gt=0, description="No measured joint angle is steadier than this.")
    least_noise_share: float = Field(default=0.0005, gt=0, description="Nor a position, as a share of its distance: 2 mm at 4 m.")
    longest_gap_s: float = Field(default=1.0, ge=0, description="Longer absences stay absent: nobody can tell what happened in them.")
    gap_decay_s: float = Field(
        default=0.1, gt=0, description="Across an absence accelerations decay by e in this time: nobody speeds up for a second on end."
    )
    gap_half_life_s: float = Field(
        default=0.25, gt=0, description="Confidence halves with each such time to the nearest frame that was seen."
    )
    ground: Literal["auto", "off"] = Field(
        default="auto", description="auto: feet that rest on the floor are held, if the camera stands still; off: never."
    )
    foot_enter_m_s: float = Field(
        default=0.25, gt=0, description="A heel or toe slower than this rests; what smoothing leaves of noise moves it by 0.1 to 0.2 m/s."
    )
    foot_leave_m_s: float = Field(default=0.5, gt=0, description="And rests on until it is faster: a stepping foot does 3 m/s.")
    foot_depth_share: float = Field(
        default=0.35, ge=0, le=1, description="Speed along the view counts by this share: depth is three times as uncertain."
    )
    foot_enter_rise_m: float = Field(default=0.03, gt=0, description="A point this far above where it usually stands begins no rest.")
    foot_leave_rise_m: float = Field(default=0.05, gt=0, description="Nor goes on resting: a lifted heel or a jump.")
    foot_level_quantile: float = Field(
        default=0.15, gt=0, lt=1, description="Height at which a heel or toe stands: low in its heights, a few wrong ones below."
    )
    foot_window_s: float = Field(default=0.08, gt=0, description="Speeds of feet are taken over this time: the roll of a step takes 0.1 s.")
    foot_least_s: float = Field(default=0.1, gt=0, description="Shorter rests are none: a runner's foot is down for 0.1 to 0.2 s.")
    foot_wander_m: float = Field(
        default=0.02, gt=0, description="A point that creeps further than this from where it rests has moved, as the picture shows,"
    )
    foot_wander_sigmas: float = Field(
        default=3.0, ge=0, description="... beyond so many times its own uncertainty: what errs from frame to frame errs slowly as well."
    )
    foot_blend_s: float = Field(default=0.15, gt=0, description="Time over which a foot is let go and taken hold of.")
    foot_depth_s: float = Field(
        default=0.1, gt=0, description="The whole body follows its resting feet in depth, evened over this time: one step to the next."
    )
    foot_most_m: float = Field(
        default=0.25, gt=0, description="A foot further off its hold than this is not drawn there: the hold is wrong, or it did move."
    )
    floor_cell_m: float = Field(default=0.3, gt=0, description="Footholds this near are one: a foot standing long says no more than once.")
    floor_quantile: float = Field(
        default=0.1, gt=0, lt=1, description="Height taken in a cell: lifted feet are above, a few wrong ones below."
    )
    floor_sigma_m: float = Field(default=0.05, gt=0, description="How far a foothold is off the floor: mostly by its depth, seen aslant.")
    floor_person_sigma_m: float = Field(
        default=0.12, gt=0, description="How far all footholds of one person are off: nobody knows how tall they are."
    )
    floor_upright_deg: float = Field(
        default=8.0, gt=0, description="How upright a person stands on average; a golfer's trunk is over their feet."
    )
    floor_level_deg: float = Field(
        default=5.0, gt=0, description="How level cameras are. Footholds 0.8 m apart say as much, nearer ones less."
    )
    floor_outlier_sigmas: float = Field(default=3.0, gt=0, description="Beyond, a foothold is on no floor: a step, a chair, a jump.")


class PictureSettings(_Section):
    """What the rendered pictures look like."""

    enabled: bool = Field(default=True, description="False writes numbers only.")
    audio: bool = Field(default=False, description="Carry the clip's sound along into overlay.mp4.")
    overlay_opacity: float = Field(
        default=0.82, gt=0, le=1, description="Opacity of bodies over the video: the person should shine through."
    )
    faint_opacity: float = Field(
        default=0.35, ge=0, le=1, description="Factor of opacity where a body was bridged or is not to be trusted."
    )
    faint_below_confidence: float = Field(default=0.2, ge=0, le=1, description="Frames of less confidence are drawn faintly.")
    fade_s: float = Field(default=0.12, ge=0, description="Time over which a body fades, so that single doubtful frames do not flicker.")
    show_uncertainty: bool = Field(
        default=False, description="Parts of a body turn from the person's colour to magenta as the smoother gets less sure of them."
    )
    sure_m: float = Field(default=0.005, gt=0, description="A joint this sure is shown as sure: smoothing leaves millimetres of noise.")
    unsure_m: float = Field(default=0.1, gt=0, description="And this unsure as a guess: a hand's width beside, it is elsewhere.")
    trail_s: float = Field(default=4.0, ge=0, description="How much of the pelvis's past is drawn on the floor; more becomes a scribble.")
    overlay_most_px: int = Field(
        default=1920, ge=16, description="Longer side of overlay.mp4 at most: 4K would take four times as long to write."
    )
    panel_height_px: int = Field(
        default=720, ge=180, le=2160, description="Height of views.mp4; small clips are enlarged to it, large ones shrunk."
    )
    samples: Literal[1, 4, 8] = Field(
        default=4, description="Samples per pixel: 4 gives clean edges, 8 takes half as long again, 1 is jagged."
    )
    sheet_moments: int = Field(default=10, ge=1, le=40, description="Columns of the contact sheet; 8 to 12 can be taken in at a glance.")
    sheet_motion_share: float = Field(
        default=0.5, ge=0, le=1, description="Moments of the sheet: 0 evenly in time, 1 only where most moves."
    )
    sheet_cell_px: int = Field(default=320, ge=64, description="Height of a picture on the contact sheet.")
    sheet_most_px: int = Field(default=2400, ge=400, description="Width of the contact sheet at most; wider ones are broken into blocks.")
    lanes: int = Field(default=2, ge=1, le=16, description="Frames drawn side by side; each holds a few pictures in memory.")


class ComputeSettings(_Section):
    """What the networks of preset sam run on, and how."""

    device: Literal["auto", "cuda", "mps", "cpu"] = Field(default="auto", description="auto: the first there is of cuda, mps, cpu.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of the large networks; auto: bfloat16 on cuda, else float32. Bodies and geometry are float32 always."
    )
    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Compile the encoders of SAM-3D-Body and SAM-3: 1.6 times as fast on an H100 after 15 s; auto: where that pays.",
    )
    compile_from_crops: int = Field(
        default=6000, ge=0, description="Crops from which auto compiles: 5,600 were measured with an empty cache, 1,000 with a filled one."
    )
    compile_from_frames: int = Field(
        default=2000, ge=0, description="Frames from which auto compiles SAM-3: 8 ms gained a frame pay 17 s back (H200, empty cache)."
    )
    batch: int | None = Field(
        default=None, ge=1, description="Crops or frames put through a network at once; unset: what free memory holds. Changes no result."
    )
    memory_share: float = Field(
        default=0.7, gt=0, le=1, description="Share of free memory a batch may take: the rest is for what is made between."
    )


class WeightsSettings(_Section):
    """Where checkpoints lie, and how they are fetched."""

    folder: str | None = Field(
        default=None,
        description="Folder with a folder for each model; unset: $BODY4D_WEIGHTS, /data/checkpoints, ~/.cache/body4d/weights, then the "
        "cache that huggingface_hub keeps for all programs ($HF_HOME).",
    )
    sam3: str | None = Field(default=None, description="Folder of SAM-3 wherever it lies; wins over the folder above it.")
    sam3d_body: str | None = Field(default=None, description="... SAM-3D-Body: its folder or its file.")
    moge: str | None = Field(default=None, description="... MoGe-2: its folder or its file.")
    vas_amodal: str | None = Field(default=None, description="... Diffusion-VAS for outlines: its folder.")
    vas_content: str | None = Field(default=None, description="... Diffusion-VAS for completion: its folder.")
    depth_anything: str | None = Field(default=None, description="... Depth-Anything-V2: its folder.")
    connections: int = Field(default=4, ge=1, le=16, description="Files fetched side by side; more seldom helps and the Hub limits rates.")
    retries: int = Field(default=5, ge=0, description="Cut connections and busy answers in a row, without a byte gained, before giving up.")
    retry_wait_s: float = Field(default=1.0, ge=0, description="Wait before the first retry; each further one waits twice as long.")
    retry_wait_most_s: float = Field(default=30.0, ge=0, description="... but never longer than this, unless the Hub asks for it.")
    answer_most_s: float = Field(default=15.0, gt=0, description="A server that says nothing for this long is taken for gone.")
    spare_disk_gb: float = Field(default=1.0, ge=0, description="Room that must be left on the disk after a download.")


class Sam3dBodySettings(_Section):
    """SAM-3D-Body (preset sam). Values are the published ones unless the description says otherwise."""

    mode: Literal["full", "body"] = Field(
        default="full", description="full looks at both hands once more, from near; it takes three times as long."
    )
    mask_prompt: bool = Field(default=True, description="Show the network whom it is to recover where people overlap, by their mask.")
    outside_visibility: float = Field(
        default=0.1, ge=0, le=1, description="Visibility of a keypoint that falls outside the picture: the network guessed it."
    )
    hand_guess_visibility: float = Field(
        default=0.4, ge=0, le=1, description="Visibility of a hand's keypoints where its own pass was not made or not believed."
    )
    mask_reach_of_height: float = Field(
        default=0.03,
        ge=0,
        description="A joint this near to the mask, as a share of its height, agrees with it: masks are tight.",
    )
    least_confidence: float = Field(default=0.05, ge=0, le=1, description="No frame counts less: a body beside its mask is near it still.")
    upstream_exact: bool = Field(
        default=False,
        description="Repeat the published code's slips outside the networks too: wrist test with the boxes swapped, last projection about "
        "the picture's middle, rotations from before the hands were merged, prompts left out for one person alone. For comparing numbers.",
    )
    body_box_padding: float = Field(default=1.25, gt=0, description="A person's box grows by this factor before it is cut out.")
    hand_box_padding: float = Field(default=0.9, gt=0, description="... and a hand's box by this one.")
    box_aspect: float = Field(default=0.75, gt=0, le=1, description="Width over height a box is grown to before it becomes a square.")
    wrist_angle_most_rad: float = Field(
        default=1.4, ge=0, description="A hand turned farther than this from where the body has its wrist is not believed: 80 degrees."
    )
    hand_box_least_px: float = Field(default=64.0, ge=0, description="Hands in crops smaller than this are not looked at: too few pixels.")
    hand_keypoint_most: float = Field(
        default=0.5,
        gt=0,
        description="A hand is not believed where a keypoint lies farther from its crop's middle than this share: outside it.",
    )
    wrist_distance_most_share: float = Field(
        default=0.25, gt=0, description="A hand is not believed whose wrist lies farther than this share of its crop from the body's."
    )
    wrist_x_rad: tuple[float, float] = Field(
        default=(-2.2, 1.0), description="How far a wrist turns about x; picks between equal angle triples."
    )
    wrist_y_rad: tuple[float, float] = Field(default=(-1.2, 1.5), description="... about y.")
    wrist_z_rad: tuple[float, float] = Field(default=(-2.2, 1.5), description="... about z.")


class Sam3Settings(_Section):
    """Finding and following people with SAM-3 (preset sam). Values are the published ones unless the description says otherwise."""

    text: str = Field(default="person", min_length=1, description="Who is looked for where no prompt says whom to follow.")
    detect_every_frames: int = Field(
        default=4, ge=1, description="The picture is searched this often; published: every frame. People come and go more slowly than that."
    )
    detection_score: float = Field(default=0.5, ge=0, le=1, description="Finds of a lower probability are not looked at.")
    new_score: float = Field(default=0.7, ge=0, le=1, description="A find of at least this probability may be somebody new,")
    new_iou_most: float = Field(default=0.1, ge=0, le=1, description="... where its mask overlaps with nobody followed by more than this.")
    duplicate_find_iou: float = Field(default=0.1, ge=0, le=1, description="Of two finds that overlap by more, the likelier one stays.")
    match_iou: float = Field(default=0.5, ge=0, le=1, description="A find that overlaps with a followed mask by this much confirms it.")
    trial_frames: int = Field(
        default=16, ge=1, description="Whoever is new is on trial for this long: false finds are not found again. Published: 15."
    )
    trial_share: float = Field(
        default=0.5, ge=0, le=1, description="... and is dropped where fewer searches than this share confirm them: published 8 of 15."
    )
    same_person_iou: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Two masks that overlap by this much lie on one body: who came into sight later yields.",
    )
    confirm_every_frames: int = Field(default=16, ge=1, description="A confirmed mask is kept as firm memory this often, against drift,")
    confirm_score: float = Field(default=0.8, ge=0, le=1, description="... where the find's probability")
    confirm_iou: float = Field(default=0.8, ge=0, le=1, description="... and its overlap with the followed mask are at least this.")
    firm_memories: int = Field(default=4, ge=2, description="Firm memories kept of a person; the network looks at no more than four.")
    most_people: int = Field(default=16, ge=1, description="At most so many are followed at a time: each costs a seventh of the encoder.")
    least_cells: int = Field(
        default=12, ge=1, description="A mask of fewer cells of the 288 x 288 is a speck and nobody: 9 px across on 1080 lines."
    )
    hole_cells: int = Field(default=16, ge=0, description="Holes and specks of a mask up to this many cells are closed or dropped.")
    rest_after_s: float = Field(
        default=3.0, ge=0, description="Whoever is unseen for longer is no longer looked for on every frame, only known again by a find."
    )
    remember_s: float = Field(default=300.0, ge=0, description="Whoever is unseen for longer is somebody new on coming back: colours fade.")
    return_colour_most: float = Field(
        default=0.35, ge=0, le=1, description="A find in colours farther off is nobody who left (as blazepose.colour_most_after_absence)."
    )
    return_reach_heights: float = Field(
        default=0.5, gt=0, description="How far from the expected place one may come back, in body heights,"
    )
    return_reach_heights_per_s: float = Field(default=1.5, ge=0, description="... and how much farther for each second unseen: a run.")
    return_size_ratio: float = Field(
        default=2.5, gt=1, description="Nobody comes back larger or smaller by more than this: rims cut in half."
    )
    colour_memory: float = Field(default=0.2, gt=0, le=1, description="Share of the newest search in a person's remembered colours.")
    return_place_weight: float = Field(
        default=0.2, ge=0, description="Cost of a place at the end of one's reach against entirely other colours: a tie-break."
    )
    give_up_frames: int = Field(
        default=30, ge=1, description="Going back from where somebody was first found ends after this many frames without them."
    )
    backward_mb: float = Field(
        default=512.0,
        gt=0,
        description="Megabytes of frames read at once when going back: less means decoding the same key frames more often.",
    )
    keep_loaded: bool = Field(
        default=False, description="Keep the weights from one clip to the next: for a process that is asked again and again, as the app's."
    )


class OcclusionSettings(_Section):
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


class DoctorSettings(_Section):
    """From when on `body4d doctor` warns. None of these changes a run."""

    lite_memory_gb: float = Field(default=2.0, gt=0, description="Free memory for preset lite: a short clip of one person took 1.2.")
    sam_gpu_gb: float = Field(
        default=16.0, gt=0, description="GPU memory for preset sam at speed: SAM-3D-Body with hands took 15.0 when held to 24 (on an H100)."
    )
    sam_gpu_least_gb: float = Field(
        default=6.0,
        gt=0,
        description="With less, preset sam is not expected to start: SAM-3's checkpoint alone has 3.4. An estimate, not measured.",
    )
    sam_memory_gb: float = Field(default=7.0, gt=0, description="Free memory for preset sam on the CPU: one frame took up to 6.7 GiB.")
    runs_disk_gb: float = Field(default=2.0, gt=0, description="Free disk for runs: masks, bodies and pictures of a long clip need room.")
    runs_disk_least_gb: float = Field(default=0.1, gt=0, description="With less, a run of even a short clip is not expected to end.")
    answer_most_s: float = Field(default=2.5, gt=0, description="The Hub is waited for this long: the doctor is to be quick.")


class SpaceSettings(_Section):
    """What is sent to a HuggingFace Space, and how it is waited for."""

    hardware: str = Field(
        default="l40sx1", description="Hardware asked for: an L40S has 48 GB, three times what preset sam takes at speed."
    )
    sleep_s: int = Field(default=900, ge=-1, description="Seconds without a visitor after which paid hardware is put to sleep; -1: never.")
    file_most_mb: float = Field(default=1.0, gt=0, description="A larger file in what is sent is refused: sources are smaller.")
    sent_most_mb: float = Field(default=20.0, gt=0, description="... and more than this altogether.")
    poll_s: float = Field(default=5.0, gt=0, description="How often a Space that is waited for is asked.")
    notice_s: float = Field(default=30.0, ge=0, description="The Hub may take this long to begin building what was pushed.")
    wait_most_s: float = Field(default=3600.0, gt=0, description="How long it is waited for: a first image fetches gigabytes.")
    tail_lines: int = Field(default=200, ge=1, description="Last lines of a log that its state is told from.")


class AppSettings(_Section):
    """The browser application. The limits are told to visitors before they upload."""

    folder: str | None = Field(
        default=None,
        description="Where visitors' work is kept. Default: /data/body4d where /data can be written, else the temporary folder.",
    )
    most_megabytes: float = Field(default=200.0, gt=0, description="Larger files are refused: a minute of 1080p by a phone has 130.")
    most_seconds: float = Field(default=60.0, gt=0, description="Longer clips are refused: a swing takes five seconds, and others wait.")
    most_frames: int = Field(default=3600, ge=1, description="... and clips of more frames: a minute at 60 frames/s.")
    most_megapixels: float = Field(default=9.0, gt=0, description="Larger frames are refused: 4K has 8.3.")
    most_people: int = Field(default=4, ge=1, description="People followed in one run at most; time grows with them.")
    most_waiting: int = Field(default=20, ge=1, description="Runs that may wait; more would wait for hours.")
    keep_hours: float = Field(default=24.0, gt=0, description="Finished work is deleted this long after it was last opened.")
    keep_gigabytes: float = Field(default=20.0, gt=0, description="Where all work takes more, what was opened longest ago goes first.")
    sweep_every_s: float = Field(default=600.0, gt=0, description="How often old work is looked for.")
    idle_s: float = Field(default=900.0, gt=0, description="A process without work ends after this, and frees the memory of its models.")
    look_most_s: float = Field(default=180.0, gt=0, description="Finding people on one frame is given up after this: the file is to blame.")
    refresh_s: float = Field(default=0.3, gt=0, le=2, description="A page that waits is told of progress this often.")
    preview_side_px: int = Field(default=1280, ge=320, description="Longer side of the picture in which people are chosen.")
    lite_seconds_per_frame: float = Field(
        default=0.2, gt=0, description="Estimate of preset lite until a run was measured here: two cores, one person."
    )
    sam_seconds_per_frame: float = Field(default=1.0, gt=0, description="... and of preset sam, cautiously: no full run was measured yet.")


class Settings(_Section):
    """Everything a run can be told."""

    preset: Literal["auto", "lite", "sam"] = Field(default="auto", description="Which models fill the seats.")
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
    contact: ContactSettings = ContactSettings()
    motion: MotionSettings = MotionSettings()
    pictures: PictureSettings = PictureSettings()
    doctor: DoctorSettings = DoctorSettings()
    space: SpaceSettings = SpaceSettings()
    app: AppSettings = AppSettings()
