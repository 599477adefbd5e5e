"""The same run for programs: Gradio's endpoint ``/run``. examples/04_use_the_app.py calls it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import api

from body4d.app.file_references import NOT_AN_UPLOAD, uploaded_path
from body4d.app.forms import RunOptions, settings_for
from body4d.app.names import PublicProblem, shown_name
from body4d.app.prompts import INSIDE, ClickPrompt
from body4d.app.queue import QueuedTask, server_stops
from body4d.app.service import AppService
from body4d.app.sessions import UserSession
from body4d.core.errors import Cancelled, InputError, SettingsError
from body4d.run.record import read_run, summary


def prompts_from_json(rows: Sequence[Any]) -> tuple[ClickPrompt, ...]:
    """Prompts of ``{"frame": 0, "person_id": 1, "point_px": [x, y], "label": 1}`` or ``{"frame": 0, "box_px": [x0, y0, x1, y1]}``.

    ``person_id`` and ``label`` may be left out and are 1. Raises SettingsError.
    """
    prompts = []
    for row in rows:
        try:
            if unknown := row.keys() - {"frame", "person_id", "point_px", "label", "box_px"}:
                raise ValueError(f"a prompt has no {min(unknown)}")
            position: Any = {key: tuple(float(value) for value in row[key]) for key in ("point_px", "box_px") if key in row}
            prompts.append(ClickPrompt(int(row["frame"]), int(row.get("person_id", 1)), label=row.get("label", INSIDE), **position))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SettingsError(
                f"Prompt {len(prompts) + 1} cannot be read.",
                code="prompt_invalid",
                hint='Write {"frame": 0, "person_id": 1, "point_px": [x, y], "label": 1} or {"frame": 0, "box_px": [x0, y0, x1, y1]}.',
                index=len(prompts),
            ) from error
    return tuple(prompts)


def add_api(service: AppService, uploads: Path) -> None:
    """Add the endpoint inside an open ``gr.Blocks``. ``uploads`` is where Gradio keeps what was uploaded; no other file is read."""

    async def run(
        video: gr.FileData,
        people: str = "main",
        prompts: list | None = None,
        text: str = "",
        start_s: float | None = None,
        end_s: float | None = None,
        fps: float | None = None,
        fov_deg: float | None = None,
        person_height_m: float | None = None,
        motion: str = "auto",
        sex: str = "auto",
        age_years: float | None = None,
        rotate_deg: int = 0,
    ) -> AsyncIterator[dict]:
        """Run a clip. Yields {"state", "stages", ...} now and then, at last {"state": "done", "run", "files", "people", "warnings"}, or
        {"state": "refused", "error": {"code", "message", "hint", "facts"}} followed by an error that says the same."""
        try:
            upload = await asyncio.to_thread(_uploaded, video, uploads)
            options = RunOptions(people, start_s, end_s, fps, fov_deg, person_height_m, motion, sex, age_years, rotate_deg)
            clicks = prompts_from_json(prompts or [])
            async for answer in _run(service, upload, options, clicks, text):
                yield answer
        except Exception as error:
            problem = error.problem if isinstance(error, _RunRefused) else service.public(error)
            known = addresses(error.session) if isinstance(error, _RunRefused) else {}
            yield {"state": "refused", **known, "error": problem.as_json()}
            raise gr.Error(problem.text, print_exception=False) from None

    api(run, api_name="run", concurrency_limit=None)


class _RunRefused(Exception):
    """A run did not end well, for a reason that is worded for visitors already."""

    def __init__(self, problem: PublicProblem, session: UserSession) -> None:
        super().__init__(problem.message)
        self.problem, self.session = problem, session


async def _run(service: AppService, upload: Path, options: RunOptions, prompts: tuple[ClickPrompt, ...], text: str) -> AsyncIterator[dict]:
    settings_for(service.settings, options, prompts)  # Refused before anything is looked at.
    session, _ = await service.open_upload(upload, options.rotate_deg)
    session = await asyncio.to_thread(service.sessions.set_prompts, session, prompts)
    session, queued = await service.start_run(session, options, text)
    async for now in service.follow(queued):
        if not (now.ended.is_set() or service.stopping.is_set()):
            yield live_json(service, session, now)
    if queued.state == "done":
        yield await asyncio.to_thread(result_json, service, session)
    elif service.stopping.is_set():
        # No error: the next server goes on with the run, and the answer says where to ask for it.
        yield {"state": "interrupted", **addresses(session), "error": service.public(server_stops()).as_json()}
    else:
        raise _RunRefused(service.public(queued.error or Cancelled("The run was cancelled."), session), session)


def addresses(session: UserSession) -> dict[str, Any]:
    """What a program needs to come back to a run: its token, and where its state can be asked for, relative to the app's address."""
    return {"run": session.token, "state_at": f"runs/{session.token}/state"}


def live_json(service: AppService, session: UserSession, queued: QueuedTask) -> dict[str, Any]:
    """A run that waits or works, for programs."""
    position = service.runs.position(queued)
    stages = {name: event.as_json() for name, event in dict(queued.stages).items()}  # A copy: the run adds to it.
    return {
        "state": queued.state,
        **addresses(session),
        "ahead": position.ahead,
        "starts_in_s": round(position.starts_in_s, 1),
        "takes_s": round(position.duration_s, 1),
        "stages": stages,
    }


def result_json(service: AppService, session: UserSession) -> dict[str, Any]:
    """A finished run, for programs. Waits for the disk."""
    record = read_run(session.run)
    return {
        "state": "done",
        **addresses(session),
        "name": shown_name(session.info.name),
        "preset": record.preset,
        "files": {name: f"runs/{session.token}/{name}" for name in session.files()},
        "people": summary(record)["people"],
        "warnings": [service.public(warning, session).as_json() for warning in record.warnings],
        "clip": session.info.model_dump(include={"frames", "fps", "seconds", "width_px", "height_px"}),
    }


def _uploaded(video: Any, uploads: Path) -> Path:
    """The uploaded file that Gradio makes of what a caller named. Raises InputError for what is no file: a word, a number."""
    path = uploaded_path(video.get("path") if isinstance(video, dict) else getattr(video, "path", None), uploads)
    if path is None:
        raise InputError(NOT_AN_UPLOAD, code="not_an_upload")
    return path
