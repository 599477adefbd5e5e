"""A swing's analysis with all that the clip itself shows and lets hear: the club in the picture, the strike in the sound."""

from collections.abc import Callable

from body4d.core.stages import FrameSource
from body4d.core.types import BodyTrack, Camera, Scene
from body4d.golf.analysis import analyze
from body4d.golf.club.shaft import track_shaft
from body4d.golf.sound import strike_onsets
from body4d.golf.types import ClubShaft, GolfAnalysis, GolfOptions

FindClub = Callable[[FrameSource, BodyTrack, Camera, int, int], ClubShaft | None]
"""Finds the club of one person on the frames from the first to below the last number; None where it cannot look."""


def analyze_clip(
    scene: Scene,
    frames: FrameSource | None,
    options: GolfOptions = GolfOptions(),  # noqa: B008 - frozen
    find_club: FindClub | None = None,
) -> GolfAnalysis:
    """``analyze`` with the club and the sound of the clip, where its pictures ``frames`` are there.

    The body alone tells first where the swings are, so that only their frames are read again. ``find_club`` comes before the search
    for a thin line from the hands. Raises as ``analyze`` does.
    """
    body_only = analyze(scene, options)
    if frames is None:
        return body_only
    first = int(min(swing.frames[0] for swing in body_only.swings))
    last = int(max(swing.frames[-1] for swing in body_only.swings)) + 1
    track = scene.person(body_only.person_id)
    club = None if find_club is None else find_club(frames, track, scene.camera, first, last)
    if club is None:
        club = track_shaft(frames, track, scene.camera, first, last, body_only.time_scale)
    sounds = strike_onsets(scene.clip)
    return analyze(scene, options, audio_onset_s=sounds.times_s, club=club if len(club.frames) else None)
