"""Key/value pairs on the tracks of a QuickTime file, where iPhones say which lens they used. FFmpeg reads only those of the whole file.

Source: QuickTime File Format Specification, "Metadata" (boxes ``keys`` and ``ilst``).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LARGEST_INDEX = 256 * 2**20  # Hours of video have an index of a few MB; beyond this the length is damage.
_NUMBERS = {23: ">f", 24: ">d", 65: ">b", 66: ">h", 67: ">i", 74: ">q", 75: ">B", 76: ">H", 77: ">I", 78: ">Q"}


def quicktime_track_tags(path: Path) -> dict[str, str]:
    """All key/value pairs of all tracks, first come first kept; empty where the file is no QuickTime or MP4, or its tags are damaged."""
    tags: dict[str, str] = {}
    try:
        with open(path, "rb") as file:
            index = _index(file)
        for track in (body for kind, body in _boxes(index) if kind == b"trak"):
            for meta in (body for kind, body in _boxes(track) if kind == b"meta"):
                tags = _pairs(meta) | tags
    except (struct.error, ValueError, OverflowError, IndexError):
        return tags
    return tags


def _index(file: BinaryIO) -> bytes:
    """Content of the ``moov`` box, found by hopping over the others without reading them."""
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        read = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            read = 16
        if kind == b"moov":
            return file.read(min(size - read, _LARGEST_INDEX)) if size > read else b""
        if size < read or not kind.isascii():
            return b""
        file.seek(size - read, 1)
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def _pairs(meta: bytes) -> dict[str, str]:
    parts = dict(_boxes(meta if meta[4:8] == b"hdlr" else meta[4:]))  # MP4's box starts with four bytes of version, QuickTime's does not.
    keys = [body.decode() for _, body in _boxes(parts.get(b"keys", b"")[8:])]
    pairs = {}
    for number, item in _boxes(parts.get(b"ilst", b"")):
        value = dict(_boxes(item)).get(b"data", b"")
        (kind,) = struct.unpack_from(">I", value)
        pairs[keys[int.from_bytes(number) - 1]] = _text(kind, value[8:])
    return pairs


def _text(kind: int, value: bytes) -> str:
    if kind in (21, 22):
        return str(int.from_bytes(value, signed=kind == 21))
    return str(struct.unpack(_NUMBERS[kind], value)[0]) if kind in _NUMBERS else value.decode(errors="replace")
