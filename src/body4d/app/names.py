"""Names and sentences that came from outside, made harmless. Pure."""

import re
import unicodedata
from pathlib import PurePosixPath

LONGEST_NAME = 60
_ENDINGS = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"})
_PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:\\|/)(?:[^\s/\\'\"]+[/\\])*[^\s/\\'\",;]+")
_COMMAND_LINE = re.compile(r"\s*(?:,\s*)?(?:or|and)?\s*\b(?:with|raise)\s+(?:--[\w-]+|[a-z_]+\.[a-z_]+)(?:\s+and\s+--[\w-]+)*")


def shown_name(name: str) -> str:
    """What an uploaded file is called on the page and in downloads: letters, digits, spaces and ``._-`` alone, no folder, never empty."""
    last = PurePosixPath(unicodedata.normalize("NFKC", name).replace("\\", "/")).name
    kept = re.sub(r"[^\w .\-]+", "_", last).strip(" ._-")
    kept = re.sub(r"_{2,}", "_", kept)
    if len(kept) > LONGEST_NAME:
        ending = PurePosixPath(kept).suffix[:8]
        kept = kept[: LONGEST_NAME - len(ending)] + ending
    return kept or "clip"


def stored_name(name: str) -> str:
    """What it is called on our disk: nothing of the visitor's but a known ending."""
    ending = PurePosixPath(name.lower()).suffix
    return f"clip{ending if ending in _ENDINGS else ''}"


def download_name(name: str, file: str) -> str:
    """``swing.mp4`` and ``body.glb`` make ``swing_body.glb``, in ASCII: it goes into a header."""
    stem = PurePosixPath(shown_name(name)).stem
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-") or "clip"
    return f"{plain}_{file}"


def without_paths(sentence: str, stored: str = "", shown: str = "") -> str:
    """A sentence of ours for the page: the stored clip called as its owner called it, other paths cut to their last name,
    and advice that only a command line can follow left out."""
    if stored and shown:
        sentence = sentence.replace(stored, shown)
    sentence = _PATH.sub(lambda m: re.split(r"[/\\]", m[0])[-1], sentence)
    return _COMMAND_LINE.sub("", sentence)
