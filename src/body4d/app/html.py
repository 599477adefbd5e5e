"""Pieces of the page as HTML. Everything that came from outside is escaped here. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from body4d.app.names import PublicProblem
from body4d.app.sessions import UserSession
from body4d.export.formats import FORMATS
from body4d.run.record import GLB, OVERLAY, SHEET, VIEWS

DOWNLOADS: Mapping[str, tuple[str, str]] = {
    OVERLAY: ("MP4", "Video with the body"),
    VIEWS: ("MP4", "Side and top views"),
    GLB: ("GLB", "3D body for Blender, Unity, the web"),
    **{row.file: (row.name.upper(), row.download) for row in FORMATS.values() if row.download and not row.per_person},
    SHEET: ("PNG", "Frames at a glance"),
    "everything.zip": ("ZIP", "Everything in one file"),
}

PAGE_SENTENCES: Mapping[str, str] = {
    "camera_moves": "The camera moves: the body is shown as the camera sees it, without a fixed floor.",
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
    "nobody_on_frame": "Move the slider to a moment at which somebody is seen from head to foot.",
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


def result(session: UserSession, people: Sequence[Mapping[str, Any]], warnings: Sequence[str], *, player: bool) -> str:
    """The finished run: videos, player, downloads, link. Addresses are relative, so that a proxy may serve us anywhere."""
    base = f"runs/{session.token}"
    panes = [_video("Over your video", f"{base}/{OVERLAY}")]
    if player:
        glb = quote(f"../{base}/{GLB}", safe="")
        panes.append(
            '<figure class="b4-pane"><figcaption>In 3D: drag to turn, pinch or scroll to come near</figcaption>'
            f'<iframe src="player/index.html?glb={glb}" title="Interactive 3D player" allow="fullscreen"></iframe></figure>'
        )
    panes.append(_video("From the side and from above", f"{base}/{VIEWS}", "b4-wide"))
    return (
        f'<div class="b4-result">{_people(people)}<div class="b4-panes">{"".join(panes)}</div>'
        f"{_downloads(session)}{_link(session)}{_warnings(warnings)}</div>"
    )


def _video(title: str, address: str, extra: str = "") -> str:
    return (
        f'<figure class="b4-pane {extra}"><figcaption>{title}</figcaption>'
        f'<video src="{address}" controls loop muted playsinline autoplay preload="metadata"></video></figure>'
    )


def _people(people: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for person in people:
        height = person.get("height_m")
        assumed = " (assumed: enter the height under Settings if you know it)" if person.get("height_assumed") else ""
        tall = f"· {height:.2f} m tall{assumed}" if isinstance(height, float) else ""
        rows.append(f"<li><b>Person {int(person['id'])}</b> seen on {int(person['frames_visible'])} frames {tall}</li>")
    return f'<ul class="b4-people">{"".join(rows)}</ul>'


def _downloads(session: UserSession) -> str:
    rows = []
    for name in session.files():
        kind, title = DOWNLOADS.get(name) or _person_file(name)
        size = (session.run / name).stat().st_size
        strong = " b4-all" if name.endswith(".zip") else ""
        rows.append(
            f'<a class="b4-download{strong}" href="runs/{session.token}/{name}?download=1" download data-file="{name}">'
            f"<b>{kind}</b><span>{title}</span><small>{_size(size)}</small></a>"
        )
    return f'<h3>Download</h3><div class="b4-downloads">{"".join(rows)}</div>'


def _person_file(name: str) -> tuple[str, str]:
    stem, _, ending = name.rpartition(".")
    return ending.upper(), f"{FORMATS[ending].download} {stem.replace('_', ' ')}"


def _link(session: UserSession) -> str:
    return (
        '<div class="b4-link"><span>This link opens the result again. Whoever has it can see it.</span>'
        f'<input readonly aria-label="Link to this result" data-run="{session.token}" value="?run={session.token}">'
        '<button type="button" class="b4-copy">Copy link</button></div>'
    )


def _warnings(warnings: Sequence[str]) -> str:
    rows = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f"<details class='b4-notes'><summary>Good to know</summary><ul>{rows}</ul></details>" if warnings else ""


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.0f} kB"
