"""What the result page asks for beside the files of a run: ``result.json``, and stretches of the video in slow motion."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from body4d.app.html import download_row, problem_text
from body4d.app.names import download_name, public_problem
from body4d.app.run_routes import PRIVATE_HEADERS
from body4d.app.sessions import SessionStore, UserSession
from body4d.app.stretch import Kind, slow_motion
from body4d.core.errors import Body4DError, RunWarning, distinct_warnings
from body4d.export.movement import MOVEMENT
from body4d.golf.file_names import JSON_NAME
from body4d.run.record import GLB, OVERLAY, read_run, summary

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_AT_ONCE = 1
"""Stretches made at the same time; each takes a core for seconds."""
MAX_WAITING = 3
"""More would hold the threads that answer everybody."""
MAX_WAIT_S = 30.0

_TYPES = {"mp4": "video/mp4", "gif": "image/gif"}


def add_result_routes(app: "FastAPI", sessions: SessionStore) -> None:
    """Add ``/runs/<token>/result.json`` and ``/runs/<token>/stretch.mp4`` and ``.gif``; before the route of a run's files."""
    from starlette.responses import JSONResponse, Response

    places, turns = threading.Semaphore(MAX_AT_ONCE + MAX_WAITING), threading.Semaphore(MAX_AT_ONCE)

    def busy() -> Response:
        return JSONResponse({"detail": "Others are making videos just now: try again in a minute."}, 503, headers=PRIVATE_HEADERS)

    def gone() -> Response:
        return JSONResponse({"detail": "There is no such result, or it was deleted because it is old."}, 404, headers=PRIVATE_HEADERS)

    # Plain functions, which run in threads: they read the disk.
    def result(token: str) -> Response:
        session = sessions.find(token)
        return JSONResponse(result_json(session), headers=PRIVATE_HEADERS) if session and session.finished else gone()

    def stretch(token: str, kind: Kind, first: int, last: int, speed: float = 0.25) -> Response:
        session = sessions.find(token)
        video = session.served_file(OVERLAY) if session else None
        if session is None or video is None:
            return gone()
        if not places.acquire(blocking=False):
            return busy()
        try:
            if not turns.acquire(timeout=MAX_WAIT_S):
                return busy()
            try:
                content = slow_motion(video, first, last, speed, kind)
            finally:
                turns.release()
        except Body4DError as error:
            return JSONResponse({"detail": public_problem(error, session.video, session.info.name).text}, 422, headers=PRIVATE_HEADERS)
        finally:
            places.release()
        name = download_name(session.info.name, f"frames_{first}-{last}.{kind}")
        headers = {**PRIVATE_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=_TYPES[kind], headers=headers)

    app.get("/runs/{token}/result.json", include_in_schema=False, response_model=None)(result)
    app.get("/runs/{token}/stretch.{kind}", include_in_schema=False, response_model=None)(stretch)


def result_json(session: UserSession) -> dict[str, Any]:
    """What the result page shows of a finished run, but for its large files. Waits for the disk."""
    record = read_run(session.run)
    warnings: Sequence[RunWarning] = [*record.warnings, *(warning for stage in record.stages.values() for warning in stage.warnings)]
    files = session.files()
    served = {name: session.served_file(name) is not None for name in (OVERLAY, GLB, MOVEMENT, JSON_NAME)}
    return {
        "name": session.info.name,
        "video": OVERLAY if served[OVERLAY] else None,
        "glb": GLB if served[GLB] else None,
        "movement": MOVEMENT if served[MOVEMENT] else None,
        "golf": JSON_NAME if served[JSON_NAME] else None,
        "people": [_person(person) for person in summary(record)["people"]],
        "notes": [problem_text(public_problem(warning, session.video, session.info.name)) for warning in distinct_warnings(warnings)],
        "files": [_file(session.run, name) for name in files],
    }


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    height_m = person.get("height_m")
    return {
        "id": int(person["id"]),
        "frames": int(person["frames_visible"]),
        "height_m": height_m if isinstance(height_m, float) else None,
        "height_assumed": bool(person.get("height_assumed")),
    }


def _file(folder: Path, name: str) -> dict[str, Any]:
    kind, title = download_row(name)
    return {"name": name, "kind": kind, "title": title, "bytes": (folder / name).stat().st_size}
