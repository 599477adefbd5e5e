"""Pieces of the page as HTML. Everything that came from outside is escaped here. Pure."""

from collections.abc import Mapping
from html import escape

from body4d.app.names import PublicProblem
from body4d.app.queue import QueuePosition
from body4d.app.sessions import SessionInfo, UserSession
from body4d.app.tasks import BODY_HTML
from body4d.core.progress import Event
from body4d.run.record import GLB, OVERLAY, SHEET, VIEWS

STEPS: tuple[tuple[str, str], ...] = (
    ("probe", "Read the clip"),
    ("masks", "Find and follow people"),
    ("occlusion", "Complete who is hidden"),
    ("camera", "Find the camera"),
    ("bodies", "Fit bodies"),
    ("motion", "Smooth the motion"),
    ("pictures", "Draw the videos"),
    ("files", "Write the 3D file"),
    ("golf", "Look for a golf swing"),
    ("downloads", "Pack the downloads"),
)
_STAGES_OF_EVERY_PRESET = frozenset({"probe", "masks", "camera", "bodies", "motion", "pictures", "files", "downloads"})

DOWNLOADS: Mapping[str, tuple[str, str]] = {
    OVERLAY: ("MP4", "Video with the body"),
    BODY_HTML: ("HTML", "3D page to send to a friend"),
    "golf.html": ("HTML", "Swing report"),
    "golf.pdf": ("PDF", "Swing report to print"),
    "golf_trace.mp4": ("MP4", "Path of the club"),
    "golf.csv": ("CSV", "Swing measures as a table"),
    VIEWS: ("MP4", "Camera, side and top"),
    GLB: ("GLB", "3D body for Blender, Unity, the web"),
    "body.npz": ("NPZ", "Numbers for Python"),
    "joints.csv": ("CSV", "Joints as a table"),
    SHEET: ("PNG", "Frames at a glance"),
    "everything.zip": ("ZIP", "Everything in one file"),
}

PAGE_REMEDIES: Mapping[str, str] = {
    "app_fault": "Your clip is kept: try again.",
    "camera_motion_unknown": "Tick “The camera moves” under Settings if it does.",
    "camera_moves_but_still": "Without a tick at “The camera moves” there would be a floor and a path over it.",
    "camera_seems_to_move": "Tick “The camera moves” under Settings if it does.",
    "disk_full": "Come back later; your clip is kept.",
    "empty_range": "Choose other seconds under Settings.",
    "fov_assumed": "Field of view or Height, under Settings, settles them.",
    "fov_uncertain": "Field of view, under Settings, settles them.",
    "frame_too_large": "Save the clip smaller.",
    "no_person": "Choose a clip in which a whole, upright body is seen at some size.",
    "not_a_video": "Choose an MP4 or MOV file.",
    "nobody_on_frame": "Move the slider to one where somebody is seen from head to foot.",
    "out_of_memory": "Try a shorter or smaller clip.",
    "people_left_out": "Click on those who should be followed.",
    "picture_not_video": "Choose an MP4 or MOV file.",
    "prompt_only_negative": "Click on the person first, then on what does not belong to them.",
    "queue_full": "Come back a little later; your clip is kept.",
    "text_not_video": "Choose an MP4 or MOV file.",
    "too_many_people_chosen": "Take some of them back with Undo.",
    "worker_died": "Your clip is kept: try a shorter or smaller one.",
}
"""What a visitor can do about a problem, by its code; elsewhere the hint speaks of the command line, or of nothing that a page has."""

HINTS_FIT_FOR_PAGE = frozenset(
    {
        "clip_too_long", "clip_too_many_frames", "clip_too_many_pixels", "file_empty", "frame_unreadable", "no_decodable_frame",
        "no_video_stream", "only_clicks_outside", "preview_too_slow", "prompt_found_nobody", "prompt_outside_range",
        "prompt_points_at_nobody", "prompts_of_one_person", "session_gone", "unknown_codec", "upload_empty", "upload_too_large",
    }
)  # fmt: skip
"""Codes of problems whose own hint a visitor can follow."""


def problem_text(problem: PublicProblem) -> str:
    """A problem for the page: what is wrong, and what the page offers against it."""
    hint = problem.hint if problem.code in HINTS_FIT_FOR_PAGE else ""
    return f"{problem.message} {PAGE_REMEDIES.get(problem.code, hint)}".strip()


def message(sentence: str, kind: str = "problem") -> str:
    """A sentence for the visitor, "" for none."""
    role = "alert" if kind == "problem" else "status"
    return f'<div class="b4-message b4-{kind}" role="{role}">{escape(sentence)}</div>' if sentence else ""


def busy(sentence: str) -> str:
    """Something is going on that has no measure."""
    return f'<div class="b4-message b4-busy" role="status"><span class="b4-spinner"></span>{escape(sentence)}</div>'


def preset_line(preset: str, reason: str) -> str:
    """Which models work here, and why."""
    what = {"lite": "BlazePose and Anny, on the CPU", "sam": "SAM-3, MoGe-2 and SAM-3D-Body, on the GPU"}.get(preset, "")
    why = f'<span class="b4-why">{escape(reason)}</span>' if reason else ""
    return f'<div class="b4-preset"><b>{escape(preset)}</b> {escape(what)} · {why}</div>'


def clip_line(info: SessionInfo) -> str:
    """What was uploaded."""
    size = f"{info.width_px}×{info.height_px}"
    return (
        f'<div class="b4-clip"><b>{escape(info.name)}</b><span>{info.seconds:.1f} s</span>'
        f"<span>{info.frames} frames</span><span>{size}</span></div>"
    )


def progress(stages: Mapping[str, Event], position: QueuePosition | None, elapsed_s: float) -> str:
    """Where a run stands: its place in the queue, or each step with rate and time left. ``position`` is None once it works."""
    if position is not None:
        others = "1 run is" if position.ahead == 1 else f"{position.ahead} runs are"
        begins = f"Yours begins in about {duration(position.starts_in_s)} and takes about {duration(position.duration_s)}."
        sentence = f"{others} before yours. {begins}" if position.ahead else "Starting…"
        return f'<div class="b4-progress" data-state="waiting" role="status"><div class="b4-queue">{escape(sentence)}</div></div>'
    rows = [_step(name, title, stages.get(name)) for name, title in STEPS if name in _STAGES_OF_EVERY_PRESET or name in stages]
    return (
        f'<div class="b4-progress" data-state="working"><ol>{"".join(rows)}</ol>'
        f'<div class="b4-elapsed">{escape(duration(elapsed_s))} so far</div></div>'
    )


def _step(name: str, title: str, event: Event | None) -> str:
    state = "todo" if event is None else "done" if event.state in ("done", "skipped") else "now"
    share, figures = 0.0, ""
    if event is not None and state == "now":
        share = event.done / event.total if event.total else 0.0
        parts = [f"{event.done} of {event.total}"] if event.total > 1 else []
        parts += [f"{event.rate_per_s:.1f} a second"] if event.rate_per_s and event.total > 1 else []
        parts += [f"{duration(event.left_s)} left"] if event.left_s is not None and event.total > 1 else []
        figures = " · ".join(parts) or "starting…"
    elif event is not None and event.state == "skipped":
        figures = "done before"
    elif event is not None:
        figures = duration(event.seconds)
    bar = f'<span class="b4-bar"><i style="width:{100 * share:.0f}%"></i></span>' if state == "now" else ""
    sign = '<span class="b4-spinner"></span>' if state == "now" else "<span></span>"
    row = f'{sign}<span class="b4-title">{title}</span><span class="b4-figures">{figures}</span>{bar}'
    return f'<li class="b4-{state}" data-stage="{name}">{row}</li>'


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 1:
        return "1 s" if seconds > 0.05 else "0 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def result(session: UserSession) -> str:
    """The finished run: the result page, which fetches what it shows. Its address is relative, so that a proxy may serve us anywhere."""
    return (
        f'<div class="b4-result"><span data-run="{session.token}"></span>'
        f'<iframe id="b4-player" src="player/index.html?run={session.token}" title="Your result: video, 3D, curves, downloads" '
        'allow="fullscreen; web-share; clipboard-write" scrolling="no"></iframe></div>'
    )
