"""The calls to the Hub about a Space, through huggingface_hub. A refusal becomes a sentence, and no token is ever in one."""

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice

from body4d.checkpoints.hub_client import Hub, quiet_http_logs, redact, transport_errors
from body4d.checkpoints.registry import TOKENS_PAGE
from body4d.core.errors import SpaceError
from body4d.deploy.bundle import BundleFile
from body4d.deploy.status import BUILD_LOG_STAGES, RUN_LOG_STAGES, UNDER_WAY, SpaceReport, SpaceStatus, space_status

BILLING_PAGE = "https://huggingface.co/settings/billing"

DATA_MOUNT = "/data"
"""Where a bucket is mounted in the container."""

STATUS_LOG_LINES = 200
"""The status is read from so many last lines of a log: enough for a traceback and the markers before it."""

POLL_S = 5.0
"""A Space that is waited for is asked this often."""

TRANSIENT_CODES = frozenset({"hub_unreachable", "hub_failed", "hub_busy"})
"""Codes of errors that pass: the Hub is silent, fails, or asks to wait, and the same request may be answered later."""

NOTICE_S = 30.0
"""The Hub may take this long to begin with what was pushed or restarted; until then the old state is not believed."""


@dataclass(frozen=True)
class SpaceSpec:
    """What a Space has to be. ``secrets`` by name, never shown; ``bucket`` (owner/name) is mounted at /data, "" changes no disk."""

    hardware: str
    sleep_s: int
    private: bool
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    bucket: str = ""


class SpaceClient:
    """One Space. Every method raises SpaceError where the Hub refuses or is silent."""

    def __init__(self, name: str, hub: Hub) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
            raise SpaceError(
                f"{name!r} is not the name of a Space.",
                code="space_name_invalid",
                hint="Name it OWNER/NAME, such as ada/body4d.",
                name=name,
            )
        if hub.token is not None and hub.usable_token is None:
            message = f"{hub.token_origin[:1].upper()}{hub.token_origin[1:]} holds letters that no token has."
            raise SpaceError(message, code="token_unusable", hint=f"Make a new one on {TOKENS_PAGE}.")
        from huggingface_hub import HfApi

        self.name, self._hub = name, hub
        self._api = HfApi(endpoint=hub.endpoint, token=hub.usable_token or False, library_name="body4d")

    @property
    def page(self) -> str:
        """The Space's page."""
        return f"{self._hub.name}/spaces/{self.name}"

    def create(self, spec: SpaceSpec) -> bool:
        """Make the Space, or bring the existing one into the state of ``spec``. Whether it is new."""
        from huggingface_hub import Volume
        from huggingface_hub.errors import HfHubHTTPError

        for key in spec.secrets:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                message = f"{key!r} cannot be the name of a secret."
                raise SpaceError(message, code="secret_name_invalid", hint="Use letters, digits and _ alone.", name=key)
        # Free hardware sleeps when the Hub decides, and refuses a time.
        sleep_s = None if spec.hardware == "cpu-basic" else spec.sleep_s
        volumes = [Volume(type="bucket", source=spec.bucket, mount_path=DATA_MOUNT)] if spec.bucket else None
        if spec.bucket:
            with self._errors("make the bucket"):
                self._api.create_bucket(spec.bucket, private=True, exist_ok=True)
        with self._errors("create it"):
            try:
                self._api.create_repo(
                    self.name,
                    repo_type="space",
                    space_sdk="docker",
                    private=spec.private,
                    space_hardware=spec.hardware,  # type: ignore[arg-type]
                    space_sleep_time=sleep_s,
                    space_secrets=[{"key": key, "value": value} for key, value in spec.secrets.items()] or None,
                    space_volumes=volumes,
                )
                return True
            except HfHubHTTPError as error:
                if error.response.status_code != 409:  # 409: it exists.
                    raise
        for key, value in spec.secrets.items():
            with self._errors(f"set the secret {key}"):
                self._api.add_space_secret(self.name, key, value)
        if volumes:
            with self._errors("mount the bucket"):
                self._api.set_space_volumes(self.name, volumes)
        with self._errors(f"take the hardware {spec.hardware}"):
            self._api.request_space_hardware(self.name, spec.hardware, sleep_time=sleep_s)  # type: ignore[arg-type]
        return False

    def push(self, files: tuple[BundleFile, ...], message: str) -> str:
        """Send a bundle as the Space's whole content, in one commit: its address. Other files that are in the Space are deleted."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._errors("send it the app"):
            present = set(self._api.list_repo_files(self.name, repo_type="space")) - {".gitattributes"}
            # Not upload_folder: beyond 256 files it makes a second commit, and the Space would begin to build half a tree.
            changes = [
                *(CommitOperationDelete(path) for path in sorted(present - {file.path for file in files})),
                *(CommitOperationAdd(file.path, file.data) for file in files),
            ]
            commit = self._api.create_commit(self.name, changes, commit_message=message, repo_type="space")
            return str(commit.commit_url)
        raise AssertionError("refusals are raised")

    def status(self) -> SpaceStatus:
        """How it stands. A log that cannot be read counts as empty: a Space that never ran has none.

        Only the log that says more at its stage is read: the Hub keeps a log's connection open, which costs seconds.
        """
        with self._errors("ask for its status"):
            runtime = self._api.get_space_runtime(self.name)
        stage = str(getattr(runtime.stage, "value", runtime.stage))
        log: tuple[str, ...] = ()
        if stage in BUILD_LOG_STAGES | RUN_LOG_STAGES:
            with suppress(SpaceError):  # The stage is known, and says more than the lack of a log.
                log = tuple(self.log(build=stage in BUILD_LOG_STAGES, last_lines=STATUS_LOG_LINES))
        message = redact(str(runtime.raw.get("errorMessage") or ""), self._hub)
        return space_status(SpaceReport(stage, message, log, str(runtime.hardware or runtime.requested_hardware or "")))

    def log(self, *, build: bool, last_lines: int | None = None, follow: bool = False, follow_s: float | None = None) -> Iterator[str]:
        """The lines of the image's or the container's log, oldest first, of what is there only the ``last_lines``.

        ``follow`` goes on as lines come, for ``follow_s`` seconds where that is given. Anything that looks like a token is left out.
        """
        skipped = 0
        if last_lines is not None:
            present = list(self._lines(build, follow=False))
            yield from present[max(0, len(present) - last_lines) :]
            skipped = len(present)
        if last_lines is None or follow:
            # A log is always replayed from its beginning, so what was printed is passed over.
            lines = islice(self._lines(build, follow), skipped, None)
            yield from lines if follow_s is None or not follow else _for_seconds(lines, follow_s)

    def restart(self, *, factory: bool) -> None:
        """Start it again; ``factory`` builds the image again without its cache."""
        with self._errors("restart it"):
            self._api.restart_space(self.name, factory_reboot=factory)

    def wait(
        self,
        max_wait_s: float,
        on_change: Callable[[SpaceStatus], None],
        *,
        changed: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> SpaceStatus:
        """Ask until the Space is no longer under way, call ``on_change`` with each new status, and return the last. Raises SpaceError.

        ``changed``: something was just pushed or restarted, so the status before that is not believed until the Hub has noticed. A Hub
        that is unavailable for a while is asked again; its refusals end the wait.
        """
        start_s = clock()
        notice_until_s, last = start_s + (NOTICE_S if changed else 0), None
        while True:
            try:
                status = self.status()
            except SpaceError as error:
                if error.code not in TRANSIENT_CODES or clock() - start_s >= max_wait_s:
                    raise
                sleep(POLL_S)
                continue
            under_way = status.state in UNDER_WAY
            if under_way or clock() >= notice_until_s:
                if status != last:
                    on_change(status)
                if not under_way:
                    return status
                notice_until_s, last = start_s, status
            if clock() - start_s >= max_wait_s:
                raise SpaceError(
                    f"{self.name} is still not up after {max_wait_s / 60:.0f} minutes ({status.message.rstrip('.')}).",
                    code="space_not_up",
                    hint="`body4d space status` and `body4d space logs` show more, and space.max_wait_s waits longer.",
                    state=status.state,
                )
            sleep(POLL_S)

    def _lines(self, build: bool, follow: bool) -> Iterator[str]:
        with self._errors("read its log"):
            for text in self._api.fetch_space_logs(self.name, build=build, follow=follow):
                for line in text.splitlines():
                    indent = line[: len(line) - len(line.lstrip())]
                    yield indent + redact(line, self._hub)

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        """Turn the Hub's refusals of ``action`` into sentences."""
        from huggingface_hub.errors import HfHubHTTPError

        try:
            with quiet_http_logs():
                yield
        except HfHubHTTPError as error:
            raise refusal(error.response.status_code, action, self.name, self._hub, error.server_message or "") from None
        except ValueError as error:
            # The Hub's check of the README's header, which huggingface_hub passes on as it came.
            raise SpaceError(f"The Hub did not {action}: {redact(str(error), self._hub)}", code="hub_refused_content") from None
        except transport_errors() as error:
            message = f"{self._hub.name} cannot be reached to {action} ({type(error).__name__})."
            hint = "Check the network, proxy settings and HF_ENDPOINT."
            raise SpaceError(message, code="hub_unreachable", hint=hint) from None


def refusal(status: int, action: str, name: str, hub: Hub, answer: str) -> SpaceError:
    """The error for a refusal: what it means and what to do. ``status`` is HTTP's, ``answer`` the Hub's own words. Pure."""
    quoted = f" (it said: {redact(answer, hub).rstrip('.')})" if answer else ""
    token = hub.token_origin or "the token"
    if status == 401 and not hub.token:
        code, message = "token_missing", f"The Hub needs to know who asks before anyone may {action}."
        hint = f"Make a token of type Write on {TOKENS_PAGE} and `hf auth login`."
    elif status == 401:
        code, message = "token_invalid", f"The Hub does not know {token}, so it did not {action}{quoted}."
        hint = f"Make a new one of type Write on {TOKENS_PAGE}."
    elif status == 402 or (status == 403 and re.search(r"pro\b|billing|payment|subscri|credit|prepaid", answer, re.IGNORECASE)):
        code, message = "payment_required", f"The Hub asks to be paid before you may {action} for {name}{quoted}."
        hint = f"See {BILLING_PAGE}, or take other --hardware."
    elif status == 403:
        code, message = "token_lacks_rights", f"The Hub does not let {token} {action} ({name}){quoted}."
        hint = "Use one of type Write whose account owns it or is in its organisation."
    elif status == 404:
        code, message = "space_not_found", f"There is no Space {name} that {token} can see."
        hint = f"Check the name, or make it with `body4d space create {name}`."
    elif status == 429:
        code, message = "hub_busy", f"{hub.name} asks to wait before it is asked again (429)."
        hint = "Try in some minutes."
    elif status >= 500:
        code, message = "hub_failed", f"{hub.name} fails (it answered {status}) and did not {action}."
        hint = "Try again later; status.huggingface.co shows more."
    else:
        code, message, hint = "hub_refused", f"The Hub did not {action} for {name}: it answered {status}{quoted}.", ""
    return SpaceError(message, code=code, hint=hint, status=status)


def _for_seconds(lines: Iterator[str], seconds: float) -> Iterator[str]:
    """``lines`` for so long, even where the next one does not come."""
    received: queue.Queue[str | Exception | None] = queue.Queue()

    def read() -> None:
        try:
            for line in lines:
                received.put(line)
            received.put(None)
        except Exception as error:
            received.put(error)

    threading.Thread(target=read, name="body4d-space-log", daemon=True).start()
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        try:
            item = received.get(timeout=left_s)
        except queue.Empty:
            return
        if isinstance(item, Exception):
            raise item
        if item is None:
            return
        yield item
