"""Talking to the Hugging Face Hub through huggingface_hub: address, token and answers. Nothing here prints or keeps a token."""

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from body4d.core.errors import Body4DError, MissingDependencyError

TIMEOUT_S = 15.0
"""A server that is silent for this long is taken to be gone."""

_HTTP_LOGGERS = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2")
"""Loggers that would name signed addresses, which open a file to anybody for an hour."""

_TOKEN = re.compile(r"hf_[A-Za-z0-9_-]{4,}")
_PASSWORD = re.compile(r"//[^/@]*@")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Hub:
    """The Hub's address and who asks. ``token`` None asks anonymously; ``token_origin`` says in words where the token comes from."""

    endpoint: str
    token: str | None = field(default=None, repr=False)
    token_origin: str = ""
    timeout_s: float = TIMEOUT_S

    @property
    def usable_token(self) -> str | None:
        """The token if a header can carry it, which takes printable characters; an error of the HTTP library would repeat any other."""
        return self.token if self.token and _PRINTABLE.fullmatch(self.token) else None

    @property
    def name(self) -> str:
        """The endpoint for messages: without a password, which the address of a mirror may hold."""
        return _PASSWORD.sub("//", self.endpoint)

    def without_token(self) -> "Hub":
        """The same Hub, asked anonymously."""
        return replace(self, token=None, token_origin="")


@dataclass(frozen=True)
class HubResponse:
    """The Hub's answer: HTTP status (0: it could not be reached), its two error headers, and the JSON body where there is one."""

    status: int
    code: str = ""
    message: str = ""
    body: Any = None

    @property
    def ok(self) -> bool:
        """Whether the file asked for would be served; a redirect leads to where it is stored."""
        return 200 <= self.status < 400


def default_hub(timeout_s: float = TIMEOUT_S) -> Hub:
    """The Hub of $HF_ENDPOINT (huggingface.co), with the token of this machine. Raises MissingDependencyError."""
    try:
        from huggingface_hub import constants, get_token
    except ImportError as error:
        raise MissingDependencyError(
            "Fetching checkpoints needs huggingface_hub, which is not installed.",
            code="hub_client_missing",
            hint="pip install 'body4d[sam]'",
        ) from error
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    variable = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    return Hub(endpoint, get_token(), f"the token in ${variable}" if variable else "the token saved by `hf auth login`", timeout_s)


def request(hub: Hub, path: str, *, method: str = "GET", follow_redirects: bool = False) -> HubResponse:
    """Send one request to the Hub; a redirect is an answer unless ``follow_redirects``. Never raises for what the Hub answers or for its
    silence."""
    from huggingface_hub.utils import build_hf_headers, get_session

    headers = build_hf_headers(token=hub.usable_token or False, library_name="body4d")
    try:
        with quiet_http_logs():
            response = get_session().request(
                method, f"{hub.endpoint}{path}", headers=headers, timeout=hub.timeout_s, follow_redirects=follow_redirects
            )
    except Exception as error:
        if isinstance(error, Body4DError):
            raise
        return HubResponse(0, type(error).__name__, redact(str(error), hub))
    body = None
    if "json" in response.headers.get("Content-Type", ""):
        try:
            body = response.json()
        except ValueError:
            body = None
    return read_response(response, hub, body)


def read_response(response: Any, hub: Hub, body: Any = None) -> HubResponse:
    """A response of the HTTP library as data, without anything that looks like a token."""
    message = response.headers.get("X-Error-Message") or (body.get("error", "") if isinstance(body, dict) else "")
    return HubResponse(response.status_code, response.headers.get("X-Error-Code", ""), redact(str(message), hub), body)


def redact(text: str, hub: Hub) -> str:
    """``text`` on one line without anything that is or looks like a token, whoever put it there."""
    if hub.token:
        text = text.replace(hub.token, "(token)")
    return " ".join(_TOKEN.sub("(token)", text).split())


class _LoggerSilence:
    """Raises the level of the HTTP libraries' loggers while any thread is inside. Levels belong to the process and files come in several
    threads at once, so only the last thread to leave restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._levels: dict[logging.Logger, int] = {}

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._num_inside == 0:
                self._levels = {logger: logger.level for logger in map(logging.getLogger, _HTTP_LOGGERS)}
                for logger in self._levels:
                    logger.setLevel(logging.CRITICAL)
            self._num_inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_inside -= 1
                if self._num_inside == 0:
                    for logger, level in self._levels.items():
                        logger.setLevel(level)


quiet_http_logs = _LoggerSilence()
"""``with quiet_http_logs():`` keeps the HTTP libraries' reports out of every log. Threads may overlap in it."""


def transport_errors() -> tuple[type[Exception], ...]:
    """What a broken or silent connection raises, in whichever HTTP library this huggingface_hub is built on."""
    try:
        import httpx2 as http
    except ImportError:  # huggingface_hub 1.x
        import httpx as http
    return (http.TransportError,)
