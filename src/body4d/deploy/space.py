"""Asking the Hub about a Space, through huggingface_hub; its refusals become sentences of ours, and no token is ever in one."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from body4d.checkpoints.hub_client import Hub, quiet, scrubbed, transport_errors
from body4d.checkpoints.sources import TOKENS_PAGE
from body4d.core.errors import SpaceError
from body4d.deploy.bundle import Piece
from body4d.deploy.status import BUILD_STAGES, RUN_STAGES, Facts

BILLING_PAGE = "https://huggingface.co/settings/billing"
DATA = "/data"
"""Where a bucket is mounted in the container."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Wish:
    """What a Space is to be. ``secrets`` by name, never shown; ``bucket`` (owner/name) is mounted at /data, "" leaves disks as they are."""

    hardware: str
    sleep_s: int
    private: bool
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    bucket: str = ""


class HubAway(SpaceError):
    """The Hub is silent, not well, or asks to wait: the same question may be answered later."""


class SpaceOnHub:
    """One Space. Every method raises SpaceError where the Hub refuses or is silent."""

    def __init__(self, name: str, hub: Hub) -> None:
        if not _NAME.fullmatch(name):
            raise SpaceError(f"A Space is named OWNER/NAME, such as ada/body4d, found {name!r}.")
        if hub.token is not None and hub.usable_token is None:
            raise SpaceError(f"{hub.token_from} holds letters that no token has: make a new one on {TOKENS_PAGE}.")
        from huggingface_hub import HfApi

        self.name, self._hub = name, hub
        self._api = HfApi(endpoint=hub.endpoint, token=hub.usable_token or False, library_name="body4d")

    @property
    def page(self) -> str:
        """The Space's page."""
        return f"{self._hub.endpoint}/spaces/{self.name}"

    def create(self, wish: Wish) -> bool:
        """Make the Space as wished, or make the one there is so. Whether it is new."""
        from huggingface_hub import Volume

        _check_secrets(wish.secrets)
        volumes = [Volume(type="bucket", source=wish.bucket, mount_path=DATA)] if wish.bucket else None
        if wish.bucket:
            with self._asking("make the bucket"):
                self._api.create_bucket(wish.bucket, private=True, exist_ok=True)
        secrets = [{"key": key, "value": value} for key, value in wish.secrets.items()]
        with self._asking("create it", there=True) as answer:
            self._api.create_repo(
                self.name,
                repo_type="space",
                space_sdk="docker",
                private=wish.private,
                space_hardware=wish.hardware,  # type: ignore[arg-type]
                space_sleep_time=_sleep(wish),
                space_secrets=secrets or None,
                space_volumes=volumes,
            )
        if not answer.there:
            return True
        for key, value in wish.secrets.items():
            with self._asking(f"set the secret {key}"):
                self._api.add_space_secret(self.name, key, value)
        if volumes:
            with self._asking("mount the bucket"):
                self._api.set_space_volumes(self.name, volumes)
        with self._asking(f"take the hardware {wish.hardware}"):
            self._api.request_space_hardware(self.name, wish.hardware, sleep_time=_sleep(wish))  # type: ignore[arg-type]
        return False

    def push(self, pieces: tuple[Piece, ...], message: str) -> str:
        """Send pieces as the Space's whole content, as one commit: its address. What is there and not among them is deleted."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._asking("send it the app"):
            there = set(self._api.list_repo_files(self.name, repo_type="space")) - {".gitattributes"}
            # Not upload_folder: beyond 256 files it makes a second commit, and the Space would begin to build half a tree.
            changes = [
                *(CommitOperationDelete(name) for name in sorted(there - {piece.path for piece in pieces})),
                *(CommitOperationAdd(piece.path, piece.data) for piece in pieces),
            ]
            sent = self._api.create_commit(self.name, changes, commit_message=message, repo_type="space")
            return str(sent.commit_url)
        raise AssertionError("refusals are raised")

    def facts(self, tail_lines: int) -> Facts:
        """Everything its condition is told from. A log that cannot be had is an empty one: a Space that never ran has none.

        Only the log that tells something at its stage is read: the Hub keeps a log's connection open, which costs seconds.
        """
        with self._asking("ask how it is"):
            runtime = self._api.get_space_runtime(self.name)
        stage = str(getattr(runtime.stage, "value", runtime.stage))
        build = self._tail(tail_lines, build=True) if stage in BUILD_STAGES else ()
        run = self._tail(tail_lines, build=False) if stage in RUN_STAGES else ()
        message = scrubbed(str(runtime.raw.get("errorMessage") or ""), self._hub)
        return Facts(stage, message, build, run, str(runtime.hardware or runtime.requested_hardware or ""))

    def lines(self, *, build: bool, follow: bool) -> Iterator[str]:
        """Lines of a log, oldest first; ``follow`` goes on as they come."""
        with self._asking("read its log"):
            for text in self._api.fetch_space_logs(self.name, build=build, follow=follow):
                yield from (scrubbed_line(line, self._hub) for line in text.splitlines())

    def restart(self, *, factory: bool) -> None:
        """Start it anew; ``factory`` builds the image again without what was kept of it."""
        with self._asking("restart it"):
            self._api.restart_space(self.name, factory_reboot=factory)

    def _tail(self, count: int, *, build: bool) -> tuple[str, ...]:
        found: list[str] = []
        try:
            for line in self.lines(build=build, follow=False):
                found = [*found[-count + 1 :], line] if count > 1 else [line]
        except SpaceError:
            pass  # Its stage is known, and says more than the lack of a log.
        return tuple(found)

    @contextmanager
    def _asking(self, what: str, *, there: bool = False) -> Iterator["_Answer"]:
        """Turn refusals into sentences; with ``there`` a Space that exists already is an answer."""
        from huggingface_hub.errors import HfHubHTTPError

        answer = _Answer()
        try:
            with quiet():
                yield answer
        except HfHubHTTPError as error:
            status = error.response.status_code
            if there and status == 409:
                answer.there = True
                return
            kind = HubAway if status == 429 or status >= 500 else SpaceError
            raise kind(sentence(status, what, self.name, self._hub, error.server_message or "")) from None
        except ValueError as error:
            # The Hub's check of the README's head, which huggingface_hub passes on as it came.
            raise SpaceError(f"The Hub did not {what}: {scrubbed(str(error), self._hub)}") from None
        except transport_errors() as error:
            reason = f"{self._hub.endpoint} cannot be reached to {what} ({type(error).__name__})"
            raise HubAway(f"{reason}: check the network, proxy settings and HF_ENDPOINT.") from None


@dataclass
class _Answer:
    there: bool = False


def sentence(status: int, what: str, name: str, hub: Hub, message: str) -> str:
    """What a refusal means and what to do. Pure."""
    said = f" (it said: {scrubbed(message, hub).rstrip('.')})" if message else ""
    token = hub.token_from or "the token"
    if status == 401 and not hub.token:
        return (
            f"The Hub wants to know who asks before it lets anyone {what}: make a token of type Write on {TOKENS_PAGE} and `hf auth login`."
        )
    if status == 401:
        return f"The Hub does not know {token}, so it did not {what}: make a new one of type Write on {TOKENS_PAGE}{said}."
    if status == 402 or (status == 403 and re.search(r"pro\b|billing|payment|subscri|credit|prepaid", message, re.IGNORECASE)):
        return f"The Hub wants to be paid before it lets you {what} for {name}{said}: see {BILLING_PAGE}, or take other --hardware."
    if status == 403:
        return f"{token} may not {what} ({name}){said}: use one of type Write whose account owns it or is in its organisation."
    if status == 404:
        return f"There is no Space {name} that {token} can see: check the name, or `body4d space create {name}`."
    if status == 429:
        return f"{hub.endpoint} asks to wait before it is asked again (429): try in some minutes."
    if status >= 500:
        return f"{hub.endpoint} is not well (it answered {status}) and did not {what}: try again later; status.huggingface.co tells more."
    return f"The Hub did not {what} for {name}: it answered {status}{said}."


def scrubbed_line(line: str, hub: Hub) -> str:
    """A line of a log as it came, but for anything that is or looks like a token."""
    indent = line[: len(line) - len(line.lstrip())]
    return indent + scrubbed(line, hub)


def _sleep(wish: Wish) -> int | None:
    # Free hardware sleeps when the Hub likes, and is refused a time of its own.
    return None if wish.hardware == "cpu-basic" else wish.sleep_s


def _check_secrets(secrets: Mapping[str, str]) -> None:
    for name in secrets:
        if not _SECRET_NAME.fullmatch(name):
            raise SpaceError(f"{name!r} cannot be the name of a secret: letters, digits and _ alone.")
