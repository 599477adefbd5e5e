"""Results by their token, and what a page or a program may ask about runs whose tokens it knows. docs/app.md lists the addresses."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Body
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, JSONResponse, Response

from body4d.app.api import addresses, live_json, result_json
from body4d.app.forms import RunOptions, settings_for
from body4d.app.names import download_name, public_problem
from body4d.app.queue import server_stops
from body4d.app.service import AppService, frames_to_run
from body4d.app.sessions import UserSession, session_gone
from body4d.app.tasks import FILM_STRIP, FRAME_PICTURE
from body4d.core.errors import Body4DError, InputError

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_LISTED = 200
"""Runs in one list; a browser keeps the newest."""

_CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".glb": "model/gltf-binary",
    ".bvh": "text/plain; charset=us-ascii",
    ".trc": "text/plain; charset=utf-8",
    ".c3d": "application/octet-stream",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".npz": "application/octet-stream",
    ".zip": "application/zip",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
PRIVATE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "private, no-cache"}

_FILE_POLICY = "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; sandbox"
_HTML_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:; connect-src data: blob:; "
    "worker-src blob:; sandbox allow-scripts allow-downloads"
)
"""A page among the results runs its own scripts, apart from the app: it reads neither our cookies nor other results."""


class TokenList(BaseModel):
    """The runs that a browser knows."""

    tokens: Annotated[list[str], Field(max_length=MAX_LISTED)]


class NewName(BaseModel):
    """What a visitor wants to call their clip."""

    name: Annotated[str, Field(min_length=1, max_length=200)]


def add_run_routes(app: "FastAPI", service: AppService) -> None:
    """Add ``/runs/…`` and ``/my-runs``. All are plain functions, which run in threads: they wait for the disk."""
    sessions = service.sessions

    def result_file(token: str, name: str, download: bool = False) -> Response:
        session = sessions.find(token)
        path = session.served_file(name) if session else None
        if session is None or path is None:
            return JSONResponse({"detail": "There is no such file, or it was deleted because it is old."}, 404, headers=PRIVATE_HEADERS)
        filename = download_name(session.info.name, name) if download and name not in (FRAME_PICTURE, FILM_STRIP) else None
        media_type = _CONTENT_TYPES.get(path.suffix, "application/octet-stream")
        policy = _HTML_POLICY if path.suffix == ".html" else _FILE_POLICY
        # It answers Range requests, as videos ask.
        return FileResponse(path, media_type=media_type, filename=filename, headers={**PRIVATE_HEADERS, "Content-Security-Policy": policy})

    def state(token: str) -> dict[str, Any]:
        return run_json(service, service.session(token))

    def rename(token: str, new: NewName) -> dict[str, Any]:
        return row_json(service, sessions.rename(service.session(token), new.name))

    def delete(token: str) -> dict[str, Any]:
        service.delete(service.session(token))
        return {"run": token, "state": "gone"}

    def cancel(token: str) -> dict[str, Any]:
        session = service.session(token)
        service.runs.cancel(session.key)
        return run_json(service, session)

    def estimate(token: str, options: Annotated[RunOptions, Body()]) -> dict[str, Any]:
        session = service.session(token)
        settings_for(service.settings, options, session.info.prompts)
        expected = service.estimate(session, options)
        frames = frames_to_run(session, options)
        return {"frames": frames, "ahead": expected.ahead, "starts_in_s": expected.starts_in_s, "takes_s": expected.duration_s}

    def my_runs(listed: TokenList) -> dict[str, Any]:
        found = ((token, sessions.find(token, is_use=False)) for token in listed.tokens)
        return {"runs": [row_json(service, session) if session else {"run": token, "state": "gone"} for token, session in found]}

    app.get("/runs/{token}/state", include_in_schema=False)(_answered(service, state))
    app.post("/runs/{token}/cancel", include_in_schema=False)(_answered(service, cancel))
    app.post("/runs/{token}/estimate", include_in_schema=False)(_answered(service, estimate))
    app.patch("/runs/{token}", include_in_schema=False)(_answered(service, rename))
    app.delete("/runs/{token}", include_in_schema=False)(_answered(service, delete))
    app.post("/my-runs", include_in_schema=False)(_answered(service, my_runs))
    app.get("/runs/{token}/{name}", include_in_schema=False)(result_file)


def _answered(service: AppService, answer: Callable[..., dict[str, Any]]) -> Callable[..., JSONResponse]:
    """The answer as JSON; an error as ``{"error": {"code", "message", "hint", "facts"}}`` with a status that fits."""

    @wraps(answer)
    def call(*args: Any, **named: Any) -> JSONResponse:
        try:
            return JSONResponse(answer(*args, **named), headers=PRIVATE_HEADERS)
        except Exception as error:
            problem = service.public(error)
            return JSONResponse({"error": problem.as_json(), "detail": problem.text}, http_status(error), headers=PRIVATE_HEADERS)

    # FastAPI reads the parameters of the function that was wrapped, and would take its answer for a model.
    call.__annotations__ = {**answer.__annotations__, "return": Response}
    return call


def http_status(error: Exception) -> int:
    """The HTTP status of an answer that says this."""
    if not isinstance(error, Body4DError):
        return 500
    return {session_gone().code: 404, server_stops().code: 503}.get(error.code, 422)


def run_json(service: AppService, session: UserSession) -> dict[str, Any]:
    """All about a run as it is now. Waits for the disk."""
    about = row_json(service, session)
    queued = service.runs.find(session.key)
    if queued is not None:
        return {**about, **live_json(service, session, queued)}
    if session.finished:
        return {**about, **result_json(service, session)}
    entry = service.last_run(session)
    if entry is not None and entry.error is not None:
        error = InputError(entry.error["message"], code=entry.error["code"], hint=entry.error["hint"], **entry.error.get("facts", {}))
        about["error"] = public_problem(error, session.video, session.info.name).as_json()
    return about


def row_json(service: AppService, session: UserSession) -> dict[str, Any]:
    """A run as a row in a list. Waits for the disk."""
    info, queued = session.info, service.runs.find(session.key)
    entry = service.last_run(session)
    state = queued.state if queued else "done" if session.finished else entry.state if entry else "new"
    picture = f"runs/{session.token}/{FRAME_PICTURE}" if session.picture.is_file() else None
    return {
        **addresses(session),
        "state": state,
        "name": info.name,
        "created_s": info.created_s,
        "expires_s": sessions_expiry(service, session),
        "picture": picture,
        "clip": info.model_dump(include={"frames", "fps", "seconds", "width_px", "height_px"}),
        "bytes": sum(path.stat().st_size for path in _files(session.folder)),
    }


def sessions_expiry(service: AppService, session: UserSession) -> float | None:
    """When a run is deleted; None while it waits or works, as its time begins when it has ended."""
    return None if service.runs.find(session.key) else service.sessions.expires_s(session)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
