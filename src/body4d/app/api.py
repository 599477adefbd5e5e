"""The same run for programs: Gradio's endpoint ``/run``. examples/04_use_the_app.py calls it."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import api

from body4d.app.file_references import FOREIGN, uploaded_path
from body4d.app.forms import Choices
from body4d.app.names import shown_name
from body4d.app.prompts import Mark
from body4d.app.service import Desk, sentence_of
from body4d.core.errors import InputError, SettingsError
from body4d.run.record import read_run, summary


def marks_of(rows: Sequence[dict[str, Any]]) -> tuple[Mark, ...]:
    """Marks of ``{"frame": 0, "place": [x, y]}`` in pixels with, if need be, ``who`` (1) and ``kind`` ("in", "out", "box").

    Raises SettingsError.
    """
    marks = []
    for row in rows:
        try:
            place = tuple(float(value) for value in row["place"])
            kind = row.get("kind", "box" if len(place) == 4 else "in")
            if kind not in ("in", "out", "box"):
                raise ValueError(kind)
            marks.append(Mark(int(row["frame"]), int(row.get("who", 1)), kind, place))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SettingsError('A mark wants {"frame": 0, "place": [x, y], "who": 1, "kind": "in"}, found another thing.') from error
    return tuple(marks)


def add_api(desk: Desk, uploads: Path) -> None:
    """Add the endpoint inside an open ``gr.Blocks``. ``uploads`` is where Gradio keeps what was uploaded; no other file is read."""

    async def run(
        video: gr.FileData,
        people: str = "main",
        marks: list | None = None,
        text: str = "",
        start_s: float | None = None,
        end_s: float | None = None,
        fps: float | None = None,
        fov_deg: float | None = None,
        person_height_m: float | None = None,
        moving: bool = False,
    ) -> AsyncIterator[dict]:
        """Run a clip. Yields {"state", "stages", ...} now and then, at last {"state": "done", "run", "files", "people", "warnings"}."""
        try:
            upload = _uploaded(video, uploads)
            choices = Choices(people, start_s, end_s, fps, fov_deg, person_height_m, moving)
            async for told in _run(desk, upload, choices, marks_of(marks or []), text):
                yield told
        except Exception as error:
            raise gr.Error(sentence_of(error), print_exception=False) from None

    api(run, api_name="run", concurrency_limit=None)


async def _run(desk: Desk, upload: Path, choices: Choices, marks: tuple[Mark, ...], text: str) -> AsyncIterator[dict]:
    visit = desk.take(upload)
    try:
        await desk.look(visit)
    except InputError:
        desk.visits.drop(visit)
        raise
    visit = desk.visit(visit.token)
    job = desk.begin(visit, choices, marks, text)
    async for now in desk.follow(job):
        place = desk.runs.place(now)
        stages = {name: event.as_json() for name, event in now.stages.items()}
        yield {"state": now.state, "run": visit.token, "ahead": place.ahead, "begins_s": round(place.begins_s, 1), "stages": stages}
    if job.state != "done":
        raise InputError(desk.told(job, visit) or "The run was cancelled.")
    record = read_run(visit.run)
    yield {
        "state": "done",
        "run": visit.token,
        "name": shown_name(visit.about.name),
        "preset": record.preset,
        "files": {name: f"runs/{visit.token}/{name}" for name in visit.files()},
        "people": summary(record)["people"],
        "warnings": [desk.plain(warning.message, visit) for warning in record.warnings],
        "clip": visit.about.model_dump(include={"frames", "fps", "seconds", "width_px", "height_px"}),
    }


def _uploaded(video: Any, uploads: Path) -> Path:
    """The uploaded file that Gradio makes of what a caller named. Raises InputError for what is no file: a word, a number."""
    path = uploaded_path(video.get("path") if isinstance(video, dict) else getattr(video, "path", None), uploads)
    if path is None:
        raise InputError(FOREIGN)
    return path
