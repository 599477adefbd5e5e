"""What leaves the server in words: names of files that came from outside, and problems without the server's paths. Pure."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from body4d.core.errors import Body4DError, RunWarning

MAX_NAME_LENGTH = 60
_VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"})
_PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:\\|/)(?:[^\s/\\'\"]+[/\\])*[^\s/\\'\",;]+")


def shown_name(name: str) -> str:
    """What an uploaded file is called wherever a visitor sees it: as they called it, in one line, without a folder, never empty.

    It is text like any other, for whoever shows it to escape: ``<b>`` may stand in it. Control and format characters do not; those that
    change the direction of writing would let a name look like another one.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    # Categories of Unicode: Z is space, C control, format, surrogate and unassigned.
    kept = "".join(" " if unicodedata.category(char)[0] in "ZC" else char for char in last)
    kept = re.sub(" {2,}", " ", kept).strip()
    kept = "" if not kept.strip(".") else kept
    if len(kept) > MAX_NAME_LENGTH:
        suffix = PurePosixPath(kept).suffix[:8]
        kept = kept[: MAX_NAME_LENGTH - len(suffix)].rstrip() + suffix
    return kept or "clip"


def stored_name(name: str) -> str:
    """What it is called on our disk: nothing of the visitor's but a known suffix."""
    suffix = PurePosixPath(name.lower()).suffix
    return f"clip{suffix if suffix in _VIDEO_SUFFIXES else ''}"


def download_name(name: str, file: str) -> str:
    """``swing.mp4`` and ``body.glb`` make ``swing_body.glb``, in ASCII: it goes into a header."""
    stem = PurePosixPath(shown_name(name)).stem
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-") or "clip"
    return f"{plain}_{file}"


def hide_paths(text: str, video: Path | None = None, name: str = "") -> str:
    """A text in which the clip ``video`` is called ``name``, and every other path is cut to its last name: visitors learn nothing of the
    server's folders."""
    held = "\0"  # The name comes last: parts of it may look like a path, or like our own name for the clip.
    text = text.replace(str(video), held) if video else text
    text = _PATH.sub(lambda match: re.split(r"[/\\]", match[0])[-1], text)
    # Without a suffix its name is a word, which other sentences have too.
    text = text.replace(video.name, held) if video and video.suffix else text
    return text.replace(held, name)


@dataclass(frozen=True)
class PublicProblem:
    """An error or a warning as visitors may see it: without the server's paths."""

    code: str
    message: str
    hint: str
    facts: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The same as a JSON object, for programs."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "facts": self.facts}

    @property
    def text(self) -> str:
        """Message and hint together."""
        return f"{self.message} {self.hint}".strip()


def public_problem(problem: Body4DError | RunWarning, video: Path | None = None, name: str = "") -> PublicProblem:
    """A problem in which the clip ``video`` is called ``name`` and no other path is left."""

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return hide_paths(value, video, name)
        if isinstance(value, Mapping):
            return {key: clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, list | tuple) else value

    return PublicProblem(problem.code, clean(problem.message), clean(problem.hint), clean(problem.facts))
