"""How far a run is, for one bar over the whole: share, time left, and the steps below it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from body4d.app.queue import QueuePosition
from body4d.core.progress import Event


@dataclass(frozen=True)
class RunStep:
    """A step of a run as the page shows it. ``weight`` is its usual share of the time; ``in_every_run`` is False for a step that only some
    runs have."""

    stage: str
    title: str
    weight: float
    in_every_run: bool = True


STEPS: tuple[RunStep, ...] = (
    RunStep("probe", "Read the video", 0.5),
    RunStep("masks", "Find and follow people", 22),
    RunStep("occlusion", "Complete who is hidden", 10, in_every_run=False),
    RunStep("camera", "Find the camera", 1.5),
    RunStep("bodies", "Fit the body", 33),
    RunStep("motion", "Smooth the movement", 6),
    RunStep("pictures", "Draw the videos", 24),
    RunStep("files", "Write the 3D file", 1),
    RunStep("golf", "Look for a golf swing", 11),
    RunStep("downloads", "Pack the downloads", 1),
)
"""Weights are those of preset lite on clips of 2 to 9 s; the time left corrects itself where a run differs."""

TRUSTED_SHARE = 0.5
"""Once this share is done, the time left comes from this run alone; before, partly from the estimate of the queue."""


def run_share(stages: Mapping[str, Event]) -> tuple[float, float]:
    """Which share of the work is done, and which share of a whole run that work is: what an earlier run did already does not count."""
    done = total = whole = 0.0
    for step in STEPS:
        event = stages.get(step.stage)
        if event is None and not step.in_every_run:
            continue
        whole += step.weight
        if event is not None and event.state == "skipped":
            continue
        total += step.weight
        if event is not None and event.state == "done":
            done += step.weight
        elif event is not None and event.total:
            done += step.weight * min(event.done / event.total, 1.0)
    return (done / total if total else 1.0), (total / whole if whole else 0.0)


def time_left_s(share: float, elapsed_s: float, expected_s: float) -> float:
    """Seconds until a run is done, of which ``share`` took ``elapsed_s``; ``expected_s`` is what it was said to take."""
    trust = min(share / TRUSTED_SHARE, 1.0)
    measured_s = elapsed_s / share if share > 0 else expected_s
    return max(((1 - trust) * expected_s + trust * measured_s) * (1 - share), 1.0)


def waiting_json(position: QueuePosition) -> dict[str, Any]:
    """A run that waits, for the page."""
    if not position.ahead:
        return {"share": 0.0, "sentence": "Starting…", "steps": []}
    others = "1 run is" if position.ahead == 1 else f"{position.ahead} runs are"
    begins = f"Yours begins in about {duration(position.starts_in_s)} and takes about {duration(position.duration_s)}."
    return {"share": 0.0, "sentence": f"{others} before yours. {begins}", "steps": []}


def working_json(stages: Mapping[str, Event], elapsed_s: float, expected_s: float) -> dict[str, Any]:
    """A run at work, for the page."""
    share, of_whole = run_share(stages)
    left = duration(time_left_s(share, elapsed_s, expected_s * of_whole))
    steps = [_step(step, stages.get(step.stage)) for step in STEPS if step.in_every_run or step.stage in stages]
    now = next((step["title"] for step in steps if step["state"] == "now"), "")
    return {"share": round(share, 4), "sentence": f"About {left} left", "step": now, "steps": steps}


def _step(step: RunStep, event: Event | None) -> dict[str, str]:
    if event is None:
        return {"stage": step.stage, "title": step.title, "state": "todo", "figures": ""}
    if event.state == "skipped":
        return {"stage": step.stage, "title": step.title, "state": "done", "figures": "done before"}
    if event.state == "done":
        return {"stage": step.stage, "title": step.title, "state": "done", "figures": duration(event.seconds)}
    parts = [f"{event.done} of {event.total}"] if event.total > 1 else []
    parts += [f"{event.rate_per_s:.1f} a second"] if event.rate_per_s and event.total > 1 else []
    return {"stage": step.stage, "title": step.title, "state": "now", "figures": " · ".join(parts)}


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 1:
        return "1 s" if seconds > 0.05 else "0 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
