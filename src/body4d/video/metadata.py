"""What the camera wrote into a file about itself: its lens, and the rate it filmed at.

iPhones keep the lens in key/value pairs on the tracks of a QuickTime file; FFmpeg reads only those of the whole file, so that the ones on
tracks are read here. Source: QuickTime File Format Specification, "Metadata" (boxes ``keys`` and ``ilst``).
"""

import re
import struct
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

CAPTURE_RATE_TOLERANCE = 0.2
"""A capture rate within this share of the playback rate is no slow motion: 30 is written for 29.6 too."""

_CAPTURE_RATE_KEYS = ("com.android.capture.fps",)
"""Android writes the sensor's rate into stretched slow-motion files. iPhone originals run in real time and need no such tag."""

_FOCAL_KEYS = ("com.apple.quicktime.camera.focal_length.35mm_equivalent", "camera.focal_length.35mm_equivalent", "focallengthin35mmformat")
"""Apple's is on the video track, "26" or "50.00mm"; front cameras are known to write nonsense below zero."""

_PLAUSIBLE_FOCAL_MM35 = (5.0, 2000.0)
_MAX_INDEX_BYTES = 256 * 2**20
"""Hours of video have an index of a few MB; a length beyond this is damage."""

_NUMBER_FORMATS = {23: ">f", 24: ">d", 65: ">b", 66: ">h", 67: ">i", 74: ">q", 75: ">B", 76: ">H", 77: ">I", 78: ">Q"}


def capture_rate(tags: Mapping[str, str], playback_rate: Fraction) -> Fraction:
    """The rate it was filmed at: the file's tag where that differs clearly from the playback rate, else the playback rate."""
    for key in _CAPTURE_RATE_KEYS:
        rate = _positive_number(tags.get(key, ""))
        if rate and abs(rate / float(playback_rate) - 1) > CAPTURE_RATE_TOLERANCE:
            return Fraction(rate).limit_denominator(1001)
    return playback_rate


def focal_mm35(tags: Mapping[str, str]) -> float | None:
    """The 35 mm equivalent focal length that the tags name, or None where they name none that is plausible."""
    for key in _FOCAL_KEYS:
        focal = _positive_number(tags.get(key, ""))
        if focal and _PLAUSIBLE_FOCAL_MM35[0] < focal < _PLAUSIBLE_FOCAL_MM35[1]:
            return focal
    return None


def _positive_number(text: str) -> float | None:
    """The positive number a tag starts with ("240.000000", "26", "50.00mm"), or None."""
    match = re.match(r"\s*(\d+(?:\.\d+)?)", text)
    return (float(match[1]) or None) if match else None


def quicktime_track_tags(path: Path) -> dict[str, str]:
    """All key/value pairs of all tracks; the first of a key counts. Empty where the file is no QuickTime or MP4, or they are damaged."""
    tags: dict[str, str] = {}
    try:
        with open(path, "rb") as file:
            index = _read_index(file)
        for track in (body for kind, body in _boxes(index) if kind == b"trak"):
            for meta in (body for kind, body in _boxes(track) if kind == b"meta"):
                tags = _pairs(meta) | tags
    except (struct.error, ValueError, OverflowError, IndexError):
        return tags
    return tags


def edit_list_rates(path: Path) -> tuple[float, ...]:
    """Speeds other than 1 in the edit lists of a QuickTime or MP4 file's video tracks, each once; FFmpeg plays all at 1.

    Source: ISO/IEC 14496-12, "Edit List Box". Empty where there are none or they are damaged.
    """
    rates: list[float] = []
    try:
        with open(path, "rb") as file:
            index = _read_index(file)
        for track in (body for kind, body in _boxes(index) if kind == b"trak"):
            media = dict(_boxes(dict(_boxes(track)).get(b"mdia", b"")))
            if media.get(b"hdlr", b"")[8:12] == b"vide":
                rates += _rates(dict(_boxes(dict(_boxes(track)).get(b"edts", b""))).get(b"elst", b""))
    except (struct.error, ValueError, OverflowError, IndexError):
        return ()
    return tuple(dict.fromkeys(rate for rate in rates if rate != 1))


def _rates(elst: bytes) -> Iterator[float]:
    """The rate of each edit that shows something."""
    if len(elst) < 8:
        return
    entry = ">QqhH" if elst[0] == 1 else ">IihH"
    (count,) = struct.unpack_from(">I", elst, 4)
    for number in range(min(count, (len(elst) - 8) // struct.calcsize(entry))):
        _, start, whole, part = struct.unpack_from(entry, elst, 8 + number * struct.calcsize(entry))
        if start >= 0:
            yield whole + part / 65536


def _read_index(file: BinaryIO) -> bytes:
    """Content of the ``moov`` box, found by skipping the others without reading them."""
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        read = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            read = 16
        if kind == b"moov":
            return file.read(min(size - read, _MAX_INDEX_BYTES)) if size > read else b""
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
    return str(struct.unpack(_NUMBER_FORMATS[kind], value)[0]) if kind in _NUMBER_FORMATS else value.decode(errors="replace")
