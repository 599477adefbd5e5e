"""Pieces of the page as HTML. Everything that came from outside is escaped here. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from body4d.app.queue import Place
from body4d.app.sessions import About, Visit
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
    ("downloads", "Pack the downloads"),
)
_ALWAYS = frozenset({"probe", "masks", "camera", "bodies", "motion", "pictures", "files", "downloads"})

DOWNLOADS: Mapping[str, tuple[str, str]] = {
    OVERLAY: ("MP4", "Video with the body"),
    VIEWS: ("MP4", "Side and top views"),
    GLB: ("GLB", "3D body for Blender, Unity, the web"),
    "body.npz": ("NPZ", "Numbers for Python"),
    "joints.csv": ("CSV", "Joints as a table"),
    SHEET: ("PNG", "Frames at a glance"),
    "everything.zip": ("ZIP", "Everything in one file"),
}


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


def clip_line(about: About) -> str:
    """What was uploaded."""
    size = f"{about.width_px}×{about.height_px}"
    return (
        f'<div class="b4-clip"><b>{escape(about.name)}</b><span>{about.seconds:.1f} s</span>'
        f"<span>{about.frames} frames</span><span>{size}</span></div>"
    )


def progress(stages: Mapping[str, Event], place: Place | None, elapsed_s: float) -> str:
    """Where a run stands: its place in the queue, or each step with rate and time left. ``place`` is None once it works."""
    if place is not None:
        others = "1 run is" if place.ahead == 1 else f"{place.ahead} runs are"
        begins = f"Yours begins in about {duration(place.begins_s)} and takes about {duration(place.takes_s)}."
        words = f"{others} before yours. {begins}" if place.ahead else "Starting…"
        return f'<div class="b4-progress" data-state="waiting" role="status"><div class="b4-queue">{escape(words)}</div></div>'
    rows = [_step(name, title, stages.get(name)) for name, title in STEPS if name in _ALWAYS or name in stages]
    return (
        f'<div class="b4-progress" data-state="working"><ol>{"".join(rows)}</ol>'
        f'<div class="b4-elapsed">{escape(duration(elapsed_s))} so far</div></div>'
    )


def _step(name: str, title: str, event: Event | None) -> str:
    state = "todo" if event is None else "done" if event.state in ("done", "skipped") else "now"
    share, words = 0.0, ""
    if event is not None and state == "now":
        share = event.done / event.total if event.total else 0.0
        parts = [f"{event.done} of {event.total}"] if event.total > 1 else []
        parts += [f"{event.rate_per_s:.1f} a second"] if event.rate_per_s and event.total > 1 else []
        parts += [f"{duration(event.left_s)} left"] if event.left_s is not None and event.total > 1 else []
        words = " · ".join(parts) or "starting…"
    elif event is not None and event.state == "skipped":
        words = "done before"
    elif event is not None:
        words = duration(event.seconds)
    bar = f'<span class="b4-bar"><i style="width:{100 * share:.0f}%"></i></span>' if state == "now" else ""
    sign = '<span class="b4-spinner"></span>' if state == "now" else "<span></span>"
    figures = f'<span class="b4-figures">{words}</span>'
    return f'<li class="b4-{state}" data-stage="{name}">{sign}<span class="b4-title">{title}</span>{figures}{bar}</li>'


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 1:
        return "1 s" if seconds > 0.05 else "0 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def result(visit: Visit, people: Sequence[Mapping[str, Any]], notes: Sequence[str], *, player: bool) -> str:
    """The finished run: videos, player, downloads, link. Addresses are relative, so that a proxy may serve us anywhere."""
    base = f"runs/{visit.token}"
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
        f"{_downloads(visit)}{_link(visit)}{_notes(notes)}</div>"
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
        tall = f"· {height:.2f} m tall" if isinstance(height, float) else ""
        rows.append(f"<li><b>Person {int(person['id'])}</b> seen on {int(person['frames_visible'])} frames {tall}</li>")
    return f'<ul class="b4-people">{"".join(rows)}</ul>'


def _downloads(visit: Visit) -> str:
    rows = []
    for name in visit.files():
        kind, title = DOWNLOADS.get(name, ("BVH", f"Skeleton of {name.removesuffix('.bvh').replace('_', ' ')}"))
        size = (visit.run / name).stat().st_size
        strong = " b4-all" if name.endswith(".zip") else ""
        rows.append(
            f'<a class="b4-download{strong}" href="runs/{visit.token}/{name}?download=1" download data-file="{name}">'
            f"<b>{kind}</b><span>{title}</span><small>{_size(size)}</small></a>"
        )
    return f'<h3>Download</h3><div class="b4-downloads">{"".join(rows)}</div>'


def _link(visit: Visit) -> str:
    return (
        '<div class="b4-link"><span>This link opens the result again. Whoever has it can see it.</span>'
        f'<input readonly aria-label="Link to this result" data-run="{visit.token}" value="?run={visit.token}">'
        '<button type="button" class="b4-copy">Copy link</button></div>'
    )


def _notes(notes: Sequence[str]) -> str:
    rows = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<details class='b4-notes'><summary>Good to know</summary><ul>{rows}</ul></details>" if notes else ""


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.0f} kB"
