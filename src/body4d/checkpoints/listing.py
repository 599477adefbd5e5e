"""Which files a source has, and what they weigh and sum to: as the Hub lists them, held against what the catalogue knows."""

import re
import time
from dataclasses import dataclass, replace
from urllib.parse import quote

from body4d.checkpoints.hub_client import Hub, quiet, scrubbed, transport_errors
from body4d.checkpoints.sources import Source
from body4d.checkpoints.transfer import BUSY, Wanted
from body4d.config import WeightsSettings
from body4d.core.errors import WeightsError

SILENCES = 2
"""Tries at a Hub that does not answer the first question at all: most likely there is no way to it, and the user waits."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Listing:
    """Files of ``source`` that are read here, at ``commit``."""

    source: Source
    commit: str
    files: tuple[Wanted, ...]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)

    def address(self, file: Wanted) -> str:
        """Where the Hub serves ``file``, below its endpoint."""
        return f"/{self.source.repo}/resolve/{self.commit}/{quote(file.path)}"


def list_source(source: Source, hub: Hub, settings: WeightsSettings, *, latest: bool = False) -> Listing:
    """Ask the Hub for a source's files at its pinned revision, or at the newest. Raises WeightsError."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RevisionNotFoundError

    revision = None if latest else source.revision
    failures = 0
    while True:
        try:
            return chosen(source, *_asked(source, hub, revision), pinned=revision is not None)
        except RevisionNotFoundError as error:
            raise WeightsError(
                f"{source.repo} no longer has the revision {revision} that was checked: --latest takes the newest, which was not."
            ) from error
        except OfflineModeIsEnabled as error:
            raise WeightsError("HF_HUB_OFFLINE is set, so nothing can be fetched: unset it, or bring the files by hand.") from error
        except HfHubHTTPError as error:
            failures += 1
            if error.response.status_code not in BUSY or failures > settings.retries:
                raise WeightsError(_told(source, hub, error.response.status_code, str(error.server_message or ""))) from error
        except transport_errors() as error:
            failures += 1
            if failures > settings.retries:
                raise WeightsError(
                    f"{hub.endpoint} cannot be reached ({type(error).__name__}): check the network and HF_ENDPOINT."
                ) from error
        time.sleep(min(settings.retry_wait_most_s, settings.retry_wait_s * 2 ** (failures - 1)))


def _asked(source: Source, hub: Hub, revision: str | None) -> tuple[str, dict[str, Wanted]]:
    """The commit behind a revision, and all its files."""
    from huggingface_hub import HfApi

    token = hub.usable_token if source.gated else None
    with quiet():
        api = HfApi(endpoint=hub.endpoint, token=token or False, library_name="body4d")
        info = api.model_info(source.repo, revision=revision or "main", files_metadata=True, timeout=hub.answer_most_s)
    files = {}
    for sibling in info.siblings or ():
        sha256 = _sum(sibling.lfs.sha256) if sibling.lfs else None
        files[sibling.rfilename] = Wanted(sibling.rfilename, sibling.size or 0, sha256, None if sibling.lfs else sibling.blob_id)
    return str(info.sha), files


def chosen(source: Source, commit: str, files: dict[str, Wanted], *, pinned: bool) -> Listing:
    """The files of a repository that are read here, with the catalogue's sums where the commit is the pinned one. Pure.

    Raises WeightsError where one is missing, or is listed with another size or sum than the catalogue has.
    """
    lacking = next((file.path for file in source.files if file.path not in files), None)
    if lacking or not source.wanted(files):
        raise WeightsError(
            f"{source.repo} has no {lacking or 'weights in a form that is read here'} at {commit[:12]}: its publisher moved things about; "
            "bring the files by hand, or report it."
        )
    out = []
    for path in source.wanted(files):
        listed, known = files[path], source.file(path) if pinned else None
        if known and known.size_bytes and known.size_bytes != listed.size_bytes:
            raise WeightsError(
                f"{source.repo} lists {path} with {listed.size_bytes:,} bytes where {known.size_bytes:,} are known to be right: this is "
                "another file; --latest takes it all the same."
            )
        if known and known.sha256 and listed.sha256 and known.sha256 != listed.sha256:
            raise WeightsError(
                f"{source.repo} lists {path} with the sum {listed.sha256[:12]}… where {known.sha256[:12]}… is known to be right: this is "
                "another file; --latest takes it all the same."
            )
        out.append(replace(listed, sha256=(known.sha256 if known else None) or listed.sha256))
    return Listing(source, commit, tuple(out))


def _sum(text: str) -> str | None:
    """A listed SHA-256; stars stand there for whoever has no access."""
    return text if _SHA256.fullmatch(text) else None


def _told(source: Source, hub: Hub, status: int, message: str) -> str:
    if status in (401, 404):
        return f"{source.repo} is not on {hub.endpoint}: see {source.page}, and give your own files with --weights."
    said = f" ({scrubbed(message, hub)})" if message else ""
    if status == 429 or status >= 500:
        return f"{hub.endpoint} answers with status {status}{said}: try again in some minutes."
    return f"{hub.endpoint} refuses to list {source.repo} with status {status}{said}: open {source.page}."
