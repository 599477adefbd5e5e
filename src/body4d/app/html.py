"""Words of the page: what a download is, and what is said of a problem. Pure."""

from collections.abc import Mapping

from body4d.app.names import PublicProblem
from body4d.app.tasks import ARCHIVE, BODY_HTML
from body4d.export.formats import FORMATS
from body4d.golf.file_names import CSV_NAME, PAGE_NAME, PDF_NAME, TRACE_NAME
from body4d.run.record import GLB, OVERLAY, SHEET, VIEWS

DOWNLOADS: Mapping[str, tuple[str, str]] = {
    OVERLAY: ("MP4", "Video with the body"),
    BODY_HTML: ("HTML", "3D page to send to a friend"),
    PAGE_NAME: ("HTML", "Swing report"),
    PDF_NAME: ("PDF", "Swing report to print"),
    TRACE_NAME: ("MP4", "Path of the club"),
    CSV_NAME: ("CSV", "Swing measures as a table"),
    VIEWS: ("MP4", "Camera, side and top"),
    GLB: ("GLB", "3D body for Blender, Unity, the web"),
    **{row.file: (row.name.upper(), row.download) for row in FORMATS.values() if row.download and not row.per_person},
    SHEET: ("PNG", "Frames at a glance"),
    ARCHIVE: ("ZIP", "Everything in one file"),
}

PAGE_SENTENCES: Mapping[str, str] = {
    "camera_moves": "The camera moves, and how was not found out: the body is shown as the camera sees it, without a fixed floor.",
    "camera_moves_but_still": "“The camera moves” is ticked, but the background stands still.",
    "camera_motion_unknown": "It cannot be seen whether the camera moves; it is taken to stand still.",
    "fov_assumed": "How wide your camera sees was not in the file: a phone's main lens is assumed. Sizes and distances depend on it.",
    "fov_estimated": "How wide your camera sees was estimated from the picture. Sizes and distances depend on it.",
    "fov_uncertain": "How wide your camera sees is uncertain. Sizes and distances depend on it.",
    "full_landmarks": "This server works with a simpler model of the body than there is, so joints are less exact.",
    "no_hand_landmarks": "Hands were not read: fingers are relaxed, or closed where both hands hold one thing.",
    "prompt_found_nobody": "There is nobody where you clicked.",
    "prompt_points_at_nobody": "There is nobody where you clicked.",
    "prompts_of_one_person": "You have chosen this person already.",
    "too_many_people": "There are more people in the picture than can be followed; only the largest were.",
}
"""What a problem is on the page, by its code, where its own sentence speaks of models, pixels or the command line."""

PAGE_REMEDIES: Mapping[str, str] = {
    "app_fault": "Your clip is kept: try again.",
    "camera_motion_unknown": "Tick “The camera moves” under Settings if it does.",
    "camera_moves_but_still": "Without the tick there would be a floor and a path over it.",
    "camera_seems_to_move": "Tick “The camera moves” under Settings if it does.",
    "disk_full": "Come back later; your clip is kept.",
    "empty_range": "Choose another part of the video.",
    "fov_assumed": "Enter the person's height under Settings to have them right.",
    "fov_uncertain": "Enter the person's height under Settings to have them right.",
    "frame_too_large": "Save the clip smaller.",
    "no_person": "Choose a clip in which a whole, upright body is seen at some size.",
    "not_a_video": "Choose an MP4 or MOV file.",
    "nobody_on_frame": "Move the slider to a moment at which somebody is seen from head to foot; a picture on its side is turned below.",
    "not_upright": "Turn the picture under Settings, and make it 3D again.",
    "out_of_memory": "Try a shorter or smaller clip.",
    "people_left_out": "Click on those who should be followed.",
    "picture_not_video": "Choose an MP4 or MOV file.",
    "prompt_only_negative": "Click on the person first, then on what does not belong to them.",
    "prompt_found_nobody": "Click on the middle of a body.",
    "prompt_points_at_nobody": "Click on the middle of a body, or move to a moment at which all of it is seen.",
    "queue_full": "Come back a little later; your clip is kept.",
    "text_not_video": "Choose an MP4 or MOV file.",
    "too_many_people_chosen": "Take one of them back first.",
    "worker_died": "Your clip is kept: try a shorter or smaller one.",
}
"""What a visitor can do about a problem, by its code; elsewhere the hint speaks of the command line, or of nothing that a page has."""

HINTS_FIT_FOR_PAGE = frozenset(
    {
        "clip_too_long", "clip_too_many_frames", "clip_too_many_pixels", "file_empty", "frame_unreadable", "no_decodable_frame",
        "no_video_stream", "only_clicks_outside", "preview_too_slow", "prompt_outside_range", "prompts_of_one_person", "range_too_long",
        "range_too_many_frames", "run_given_up", "server_stopping", "session_gone", "sides_unclear", "unknown_codec", "upload_empty",
        "upload_too_large",
    }
)  # fmt: skip
"""Codes of problems whose own hint a visitor can follow."""


def problem_text(problem: PublicProblem) -> str:
    """A problem for the page: what is wrong, and what the page offers against it."""
    hint = problem.hint if problem.code in HINTS_FIT_FOR_PAGE else ""
    return f"{PAGE_SENTENCES.get(problem.code, problem.message)} {PAGE_REMEDIES.get(problem.code, hint)}".strip()


def download_row(name: str) -> tuple[str, str]:
    """The kind of a file and what it is, for the list of downloads."""
    stem, _, ending = name.rpartition(".")
    return DOWNLOADS.get(name) or (ending.upper(), f"{FORMATS[ending].download} {stem.replace('_', ' ')}")
