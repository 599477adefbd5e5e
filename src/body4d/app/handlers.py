"""What the page asks for, and the answers as JSON. What each takes is worked out by the service; this words it for the page."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from body4d.app import html
from body4d.app.file_references import NOT_AN_UPLOAD, uploaded_path
from body4d.app.forms import RunOptions, options_from_json, options_to_json, settings_for
from body4d.app.names import MAX_NAME_LENGTH
from body4d.app.preview import Preview, add_bounded, decode_mask, inner_point_px, outline_path, people_by_known_masks
from body4d.app.progress import duration, waiting_json, working_json
from body4d.app.prompts import INSIDE, OUTSIDE, ClickPrompt, person_of_click, prompted_people, turned_prompt
from body4d.app.queue import server_stops
from body4d.app.service import AppService
from body4d.app.sessions import SessionInfo, UserSession
from body4d.core.errors import Body4DError, Cancelled, InputError, SettingsError
from body4d.render.style import person_colour

CHOOSE, EXCLUDE, BOX = MODES = ("choose", "exclude", "box")
"""What a click on the picture does."""

MAX_FRAMES_KNOWN = 200
"""Frames whose people are remembered here, of all visitors, so that a click on them is answered without the other process."""

MAX_TEXT_LENGTH = 200
HEIGHT_SENTENCE = "The height must lie between 41 and 259 cm (1 ft 4 in and 8 ft 6 in)."
RESTART_SENTENCE = "The server is being restarted. What was done is kept, and this page goes on by itself in a minute."
CANCELLED_SENTENCE = "Cancelled. What was finished is kept."

Answer = dict[str, Any]


class PageHandlers:
    """Answers of the page. Holds the app's parts and, for speed alone, the people on frames that were looked at."""

    def __init__(self, service: AppService, uploads: Path) -> None:
        self.service, self._uploads = service, uploads
        self._known: dict[str, Preview] = {}

    async def session(self, token: str) -> UserSession:
        """The session of a token. Raises InputError."""
        return await self.service.open_session(token)

    # Step 1

    async def open_upload(self, path: object, name: object) -> Answer:
        """A token for a file that was uploaded, before anybody looks into it: from here on a reload finds it. Raises InputError."""
        upload = await asyncio.to_thread(uploaded_path, path, self._uploads)
        if upload is None:
            raise InputError(NOT_AN_UPLOAD, code="not_an_upload")
        shown = str(name)[: 4 * MAX_NAME_LENGTH] if name else upload.name
        return {"token": (await asyncio.to_thread(self.service.sessions.create, upload, shown)).token}

    async def open_example(self) -> Answer:
        """A token for the example."""
        example = await self.service.example()
        return {"token": (await asyncio.to_thread(self.service.sessions.create, example, "computer-made swing.mp4")).token}

    # Step 2

    async def choice(self, token: str, frame: int | None = None) -> Answer:
        """Step 2 as the visitor left it, on another frame where one is given. Raises what refuses the clip, which then is not kept."""
        if frame is None:
            session = await self.session(token)
        else:
            shown = max(int(frame), 0)
            session = await self.service.change(token, lambda _: {"frame": shown})
        try:
            return await self._choice(session)
        except InputError:
            if not session.info.frames:  # Never seen: the file is to blame.
                await asyncio.to_thread(self.service.sessions.delete, session)
            raise

    async def click(self, token: str, frame: int, at: list[float], mode: str, person: int = 0) -> Answer:
        """A click (x, y) or a box (x0, y0, x1, y1) on a frame, in shares of the picture. ``person`` 0: whoever is meant by it."""
        session = await self.session(token)
        preview = self._known.get(session.key)
        if preview is None or (preview.frame, preview.rotate_deg) != (frame, session.info.options.rotate_deg):
            await self.choice(token, frame)
            preview = self._known[session.key]
        added: list[ClickPrompt] = []

        def add(info: SessionInfo) -> Mapping[str, Any]:
            if info.options.rotate_deg != preview.rotate_deg:
                raise Cancelled("The picture was turned meanwhile.", code="preview_replaced")
            prompt = click_prompt(at, mode, preview, info.prompts)
            prompt = replace(prompt, person_id=person) if person else prompt
            self._check_number((*info.prompts, prompt))
            added.append(prompt)
            return {"prompts": (*info.prompts, prompt), "frame": preview.frame}

        session = await self.service.change(token, add)
        try:
            return await self._choice(session)
        except Body4DError as error:
            # Another request may have come before this one, or the next server answers it: the click stands.
            if not (isinstance(error, Cancelled) or error.code == server_stops().code):
                await asyncio.to_thread(self.service.remove_prompts, session, added)
            raise

    def _check_number(self, prompts: tuple[ClickPrompt, ...]) -> None:
        limit = self.service.settings.app.max_people
        if len(prompted_people(prompts)) > limit:
            people = "1 person" if limit == 1 else f"{limit} people"
            raise SettingsError(f"Up to {people} can be followed at once.", code="too_many_people_chosen", limit=limit)

    async def undo(self, token: str) -> Answer:
        """Take the last click back."""
        return await self._change_prompts(token, lambda info: {"prompts": info.prompts[:-1]})

    async def clear(self, token: str) -> Answer:
        """Take all clicks and words back."""
        return await self._change_prompts(token, lambda _: {"prompts": (), "text": ""})

    async def drop(self, token: str, person: int) -> Answer:
        """Choose a person no longer."""
        return await self._change_prompts(
            token, lambda info: {"prompts": tuple(prompt for prompt in info.prompts if prompt.person_id != person)}
        )

    async def describe(self, token: str, text: str) -> Answer:
        """Whom to follow, in words."""
        return await self._change_prompts(token, lambda _: {"text": text[:MAX_TEXT_LENGTH]})

    async def _change_prompts(self, token: str, change: Callable[[SessionInfo], Mapping[str, Any]]) -> Answer:
        return await self._choice(await self.service.change(token, change))

    async def set_options(self, token: str, fields: object) -> Answer:
        """Keep the form of settings with the clip; how long a run would take with them. Raises SettingsError, and keeps nothing then."""
        options = options_from_json(fields)
        settings_for(self.service.settings, options, ())
        session = await self.service.change(token, lambda info: with_options(info, options))
        return {"options": options_to_json(options), "estimate": self._estimate(session), "warning": _outside_range(session)}

    async def _choice(self, session: UserSession) -> Answer:
        session, preview = await self._preview(session)
        return await asyncio.to_thread(self._choice_json, session, preview)

    async def _preview(self, session: UserSession) -> tuple[UserSession, Preview]:
        """The people on the session's frame: by the masks that are known, else by the process that finds people."""
        info, known = session.info, self._known.get(session.key)
        if known is not None and (known.frame, known.rotate_deg) == (info.frame, info.options.rotate_deg):
            on_frame = await asyncio.to_thread(
                people_by_known_masks, known, info.prompts, info.text, draws_by_clicks=self.service.preset == "sam"
            )
            if on_frame is not None:
                if on_frame.rejected:
                    await asyncio.to_thread(self.service.remove_prompts, session, on_frame.rejected)
                return _as_asked(session, info, on_frame.rejected), replace(known, on_frame=on_frame)
        session, preview = await self.service.preview(session, info.frame, info.text)
        add_bounded(self._known, session.key, preview, MAX_FRAMES_KNOWN)
        return _as_asked(session, info, preview.on_frame.rejected), preview

    def _choice_json(self, session: UserSession, preview: Preview) -> Answer:
        info, chosen = session.info, prompted_people(session.info.prompts)
        warnings = [html.problem_text(self.service.public(warning, session)) for warning in preview.on_frame.warnings]
        count = len(preview.on_frame.people)
        found = "" if chosen or not count else "One person was found." if count == 1 else f"{count} people were found."
        app = self.service.settings.app
        return {
            "token": session.token,
            "revision": info.revision,
            "clip": {
                "name": info.name, "seconds": info.seconds, "frames": preview.frames, "fps": preview.fps,
                "width_px": preview.width_px, "height_px": preview.height_px,
            },
            "frame": preview.frame,
            "picture": f"runs/{session.token}/{session.picture.name}?{preview.frame}-{preview.rotate_deg}",
            "people": _people_json(preview),
            "clicks": [_click_json(prompt, preview) for prompt in info.prompts if prompt.frame == preview.frame],
            "chosen": [{"id": number, "colour": _colour(number)} for number in chosen],
            "text": info.text,
            "options": options_to_json(info.options),
            "max_range_s": min(app.max_seconds, app.max_frames / preview.fps if preview.fps else app.max_seconds),
            "finished": session.finished,
            "warning": " ".join(warnings) or _outside_range(session),
            "found": found,
            "estimate": self._estimate(session),
        }  # fmt: skip

    def _estimate(self, session: UserSession) -> str:
        position = self.service.estimate(session, session.info.options)
        takes = f"Takes about {duration(position.duration_s)}."
        if not position.ahead:
            return takes
        others = "Another run comes" if position.ahead == 1 else f"{position.ahead} other runs come"
        return f"{others} first, about {duration(position.starts_in_s)}. {takes}"

    # Step 3

    async def run(self, token: str) -> Answer:
        """Start the run of what is chosen; under a new token where this one has its result already. Raises SettingsError."""
        session = await self.session(token)
        if warning := _outside_range(session):
            raise SettingsError(warning, code="person_outside_range")
        session, _ = await self.service.start_run(session, session.info.options, session.info.text)
        return {"token": session.token}

    async def cancel(self, token: str) -> Answer:
        """End the run, if there is one."""
        await self.service.cancel(await self.session(token))
        return {}

    async def progress(self, token: str) -> Answer:
        """How the session stands: ``state`` is choosing, waiting, working, done, or refused with a ``message``."""
        session = await self.session(token)
        queued = self.service.runs.find(session.key)
        if queued is None or queued.ended.is_set():
            return await asyncio.to_thread(self._ended_json, session)
        position = self.service.runs.position(queued)
        if queued.state == "waiting":
            return {"state": "waiting", "name": session.info.name, **waiting_json(position)}
        elapsed_s = max(time.monotonic() - queued.started_s, 0.0) if queued.started_s else 0.0
        expected_s = self.service.estimate(session, session.info.options).duration_s
        return {"state": "working", "name": session.info.name, **working_json(queued.stages, elapsed_s, expected_s)}

    def _ended_json(self, session: UserSession) -> Answer:
        """How a session stands whose run is not in the queue: what the disk says of it."""
        info, last = session.info, self.service.last_run(session)
        if session.finished or last is None:
            return {"state": "done" if session.finished else "choosing", "name": info.name}
        if last.live:  # The next server goes on with it.
            return {"state": "waiting", "name": info.name, "share": 0.0, "sentence": RESTART_SENTENCE, "steps": []}
        if (last.prompts, last.options, last.text) != (info.prompts, info.options, info.text):
            return {"state": "choosing", "name": info.name}  # What is to be said of that run is no longer to the point.
        if last.state == "cancelled":
            return {"state": "choosing", "message": CANCELLED_SENTENCE}
        if last.error is not None:
            error = Body4DError(last.error["message"], code=last.error["code"], hint=last.error["hint"])
            return {"state": "refused", "message": html.problem_text(self.service.public(error, session))}
        return {"state": "choosing", "name": info.name}

    def problem(self, error: Exception) -> Answer:
        """An error in the page's words, with the name of the setting that it is about."""
        problem = self.service.public(error)
        field = str(problem.facts.get("field", "")).rpartition(".")[2]
        # The page asks for centimetres or feet, and its settings are in metres.
        message = HEIGHT_SENTENCE if field == "person_height_m" else html.problem_text(problem)
        return {"code": problem.code, "message": message, "field": field}


def _as_asked(session: UserSession, asked: SessionInfo, rejected: tuple[ClickPrompt, ...]) -> UserSession:
    """The session with the choice for which the people were found, not with one that came meanwhile: that has an answer of its own."""
    kept = tuple(prompt for prompt in asked.prompts if prompt not in rejected)
    update = {"prompts": kept, "text": asked.text, "revision": asked.revision}
    return replace(session, info=session.info.model_copy(update=update))


def with_options(info: SessionInfo, options: RunOptions) -> Mapping[str, Any]:
    """What changes in a session with these settings: where the picture is turned, clicks and measures turn with it. Pure."""
    turn = (options.rotate_deg - info.options.rotate_deg) % 360
    size = (info.width_px, info.height_px)
    prompts = tuple(turned_prompt(prompt, turn, *size) for prompt in info.prompts)
    width, height = size if turn % 180 == 0 else size[::-1]
    return {"options": options, "prompts": prompts, "width_px": width, "height_px": height}


def click_prompt(shares: list[float], mode: str, preview: Preview, prompts: tuple[ClickPrompt, ...]) -> ClickPrompt:
    """The prompt of a click (x, y) or box (x0, y0, x1, y1) in shares of the picture, for the person whom it hits. Pure.

    Raises SettingsError where something is to be taken away from nobody.
    """
    size_px = (preview.width_px, preview.height_px)
    at_px = [min(max(float(value), 0.0), 1.0) * size_px[i % 2] for i, value in enumerate(shares)]
    if len(at_px) == 4:
        x0, y0, x1, y1 = at_px
        prompt = ClickPrompt(preview.frame, box_px=(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    else:
        x, y = at_px
        prompt = ClickPrompt(preview.frame, point_px=(x, y), label=OUTSIDE if mode == EXCLUDE else INSIDE)
    return replace(prompt, person_id=person_of_click(prompt, preview.masks(), prompts))


def _people_json(preview: Preview) -> list[Answer]:
    """The people on a frame from left to right, sizes in shares of the picture."""
    width, height = preview.width_px, preview.height_px
    people = []
    for person in preview.on_frame.people:
        mask = decode_mask(person.mask_code, height, width)
        if not mask.any():
            continue
        xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        x, y = inner_point_px(mask)
        people.append(
            {
                "id": person.person_id if person.chosen else 0,
                "colour": _colour(person.person_id),
                "box": [int(xs[0]) / width, int(ys[0]) / height, int(xs[-1] + 1) / width, int(ys[-1] + 1) / height],
                "at": [x / width, y / height],
                "outline": outline_path(mask),
            }
        )
    return sorted(people, key=lambda person: person["box"][0] + person["box"][2])


def _click_json(prompt: ClickPrompt, preview: Preview) -> Answer:
    size_px = (preview.width_px, preview.height_px)
    at = [value / size_px[i % 2] for i, value in enumerate(prompt.position_px)]
    return {"at": at, "inside": prompt.locates_person, "colour": _colour(prompt.person_id)}


def _colour(person_id: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*person_colour(person_id - 1))


def _outside_range(session: UserSession) -> str:
    """A sentence where somebody was chosen only on frames that the run leaves out, else ""."""
    info = session.info
    start_s, end_s = info.options.range_s(info.seconds)
    if not info.fps or (start_s <= 0 and end_s >= info.seconds):
        return ""
    inside = {
        p.person_id for p in info.prompts if p.locates_person and start_s - 1 / info.fps <= p.frame / info.fps <= end_s + 1 / info.fps
    }
    outside = [number for number in prompted_people(info.prompts) if number not in inside]
    if not outside:
        return ""
    return f"Person {outside[0]} was chosen in a part that is cut off: choose them again at a moment that is kept, or clear the choice."
