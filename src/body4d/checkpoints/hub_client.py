"""Talking to the Hub through huggingface_hub: its address, the token, and what its answers mean. Nothing here prints or keeps a token."""

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from body4d.core.errors import Body4DError, MissingDependencyError

_QUIET = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2")
"""Loggers that would name signed addresses, which are as good as keys for an hour."""

_TOKEN = re.compile(r"hf_[A-Za-z0-9_-]{4,}")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Hub:
    """Where the Hub is and who asks. ``token`` None asks without one. ``answer_most_s``: silence for longer is taken for gone."""

    endpoint: str
    token: str | None = field(default=None, repr=False)
    token_from: str = ""
    answer_most_s: float = 15.0

    @property
    def usable_token(self) -> str | None:
        """The token where it can be sent at all: a header takes printable letters, and the libraries' errors would repeat any other."""
        return self.token if self.token and _PRINTABLE.fullmatch(self.token) else None


@dataclass(frozen=True)
class Answer:
    """What the Hub said to a question: status (0: it could not be reached), its two error headers, and the JSON body where one came."""

    status: int
    code: str = ""
    message: str = ""
    body: Any = None

    @property
    def granted(self) -> bool:
        """Whether the file asked for would be served; a redirect leads to where it lies."""
        return 200 <= self.status < 400


def hub_here(answer_most_s: float = 15.0, token: str | None = None) -> Hub:
    """The Hub of $HF_ENDPOINT (huggingface.co), with ``token`` or the one of this machine. Raises MissingDependencyError."""
    _library()
    from huggingface_hub import constants, get_token

    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    if token:
        return Hub(endpoint, token.strip(), "the token given", answer_most_s)
    found = get_token()
    named = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    return Hub(endpoint, found, f"the token in ${named}" if named else "the token saved by `hf auth login`", answer_most_s)


def ask(hub: Hub, path: str, *, method: str = "GET", token: bool = True) -> Answer:
    """One question to the Hub; redirects are answers. Never raises for what the Hub says or for its silence."""
    from huggingface_hub.utils import build_hf_headers, get_session

    headers = build_hf_headers(token=(hub.usable_token if token else None) or False, library_name="body4d")
    try:
        with quiet():
            found = get_session().request(
                method, f"{hub.endpoint}{path}", headers=headers, timeout=hub.answer_most_s, follow_redirects=False
            )
    except Exception as error:
        if isinstance(error, Body4DError):
            raise
        return Answer(0, type(error).__name__, scrubbed(str(error), hub))
    body = None
    if "json" in found.headers.get("Content-Type", ""):
        try:
            body = found.json()
        except ValueError:
            body = None
    said = found.headers.get("X-Error-Message") or (body.get("error", "") if isinstance(body, dict) else "")
    return Answer(found.status_code, found.headers.get("X-Error-Code", ""), scrubbed(str(said), hub), body)


def scrubbed(text: str, hub: Hub) -> str:
    """``text`` on one line without anything that is or looks like a token, whoever put it there."""
    if hub.token:
        text = text.replace(hub.token, "(token)")
    return " ".join(_TOKEN.sub("(token)", text).split())


class _Hush:
    """Raises the libraries' loggers while anybody is inside. Files come in several threads at once, and levels belong to the process:
    whoever left first would otherwise let the others' addresses through."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._levels: dict[logging.Logger, int] = {}

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._levels = {logger: logger.level for logger in map(logging.getLogger, _QUIET)}
                for logger in self._levels:
                    logger.setLevel(logging.CRITICAL)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for logger, level in self._levels.items():
                    logger.setLevel(level)


_HUSH = _Hush()


@contextmanager
def quiet() -> Iterator[None]:
    """The libraries' own reports are left out: what matters is said in our sentences. Threads may overlap in it."""
    _HUSH.enter()
    try:
        yield
    finally:
        _HUSH.leave()


def transport_errors() -> tuple[type[Exception], ...]:
    """What a broken or silent connection raises, in whichever HTTP library this huggingface_hub is built on."""
    try:
        import httpx2 as http
    except ImportError:  # huggingface_hub 1.x
        import httpx as http
    return (http.TransportError,)


def _library() -> None:
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("Fetching checkpoints needs huggingface_hub, not found here: pip install 'body4d[sam]'.") from error
