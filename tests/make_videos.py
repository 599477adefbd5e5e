"""Tiny clips of every awkward kind, made on the spot. A frame carries its number as black and white stripes, to be read back."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS = 8


def stripes(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """RGB picture (H, W, 3) with ``number`` as BITS vertical stripes, the highest bit left: white is 1."""
    bit = BITS - 1 - np.arange(width) * BITS // width
    row = ((number >> bit) & 1) * 215 + 20
    return np.repeat(np.repeat(row[None, :, None], height, 0), 3, 2).astype(np.uint8)


def number_of(rgb: np.ndarray) -> int:
    """The number a picture carries."""
    row = rgb[rgb.shape[0] // 2, :, 1].astype(int)
    centres = (np.arange(BITS) * 2 + 1) * rgb.shape[1] // (2 * BITS)
    return int(sum(1 << (BITS - 1 - i) for i, x in enumerate(centres) if row[x] > 128))


def quadrants(width: int = 64, height: int = 48) -> np.ndarray:
    """Red top left, green top right, blue bottom left, white bottom right."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2, 0] = 220
    rgb[: height // 2, width // 2 :, 1] = 220
    rgb[height // 2 :, : width // 2, 2] = 220
    rgb[height // 2 :, width // 2 :] = 220
    return rgb


def corners(rgb: np.ndarray) -> str:
    """Letters of the four quadrants, row by row: "RGBW" for an upright picture of ``quadrants``."""
    h, w = rgb.shape[:2]
    letters = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}
    spots = ((h // 4, w // 4), (h // 4, 3 * w // 4), (3 * h // 4, w // 4), (3 * h // 4, 3 * w // 4))
    return "".join(letters.get(tuple(int(c > 110) for c in rgb[y, x]), "?") for y, x in spots)


# Of a clip shorter than its reordering of B frames, the wheel's x265 leaves decoding times unset: garbage that FFmpeg's muxer refuses.
DEFAULT_OPTIONS = {"libx264": {"crf": "8"}, "libx265": {"x265-params": "log-level=none:crf=8:bframes=0"}}


def make_video(
    path: Path,
    frames: int | Sequence[np.ndarray] = 12,
    *,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = 30,
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    movflags: str = "",
    format: str | None = None,
    metadata: dict[str, str] | None = None,
    rotation: float = 0,
    hflip: bool = False,
    pixel_aspect: Fraction | None = None,
    colour: dict[str, int] | None = None,
    audio: str = "",
    shift: int = 0,
) -> Path:
    """Write a clip. ``ticks`` are presentation times in ``time_base``; ``shift`` is added to packets' stamps, past the encoder."""
    pictures = [stripes(i, *size) for i in range(frames)] if isinstance(frames, int) else list(frames)
    time_base = time_base or 1 / Fraction(rate)
    with av.open(str(path), "w", format=format, options={"movflags": movflags} if movflags else {}) as out:
        out.metadata.update(metadata or {})
        default = DEFAULT_OPTIONS.get(codec, {})
        stream: Any = out.add_stream(codec, rate=rate, options=default | (options or {}))
        stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1], pictures[0].shape[0], pix_fmt
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        for name, value in (colour or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation or hflip:
            stream.set_display_rotation(rotation, hflip=hflip)
        sound = out.add_stream(audio, rate=48_000, layout="mono") if audio else None
        for i, rgb in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt, dst_colorspace="itu601")
            frame.pts, frame.time_base = (ticks[i] if ticks else i), time_base
            for packet in stream.encode(frame):
                _mux(out, packet, shift, time_base)
        for packet in stream.encode(None):
            _mux(out, packet, shift, time_base)
        if sound is not None:
            seconds = float((ticks[-1] if ticks else len(pictures)) * time_base)
            _mux_sound(out, sound, seconds)
    return path


def make_sound(path: Path, seconds: float = 0.5, codec: str = "aac") -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as out:
        _mux_sound(out, out.add_stream(codec, rate=48_000, layout="mono"), seconds)
    return path


def cut(path: Path, share: float) -> Path:
    """Keep the first ``share`` of the file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def add_track_tag(path: Path, key: str, value: str) -> Path:
    """Put a QuickTime key/value pair on the first track, where phones keep what the camera knows. Needs the index at the file's end."""
    data = bytearray(path.read_bytes())
    handler = _box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    keys = _box(b"keys", struct.pack(">II", 0, 1) + _box(b"mdta", key.encode()))
    item = _box(struct.pack(">I", 1), _box(b"data", struct.pack(">II", 1, 0) + value.encode()))
    meta = _box(b"meta", handler + keys + _box(b"ilst", item))
    moov, trak = data.rindex(b"moov") - 4, data.index(b"trak", data.rindex(b"moov")) - 4
    (trak_size,) = struct.unpack(">I", data[trak : trak + 4])
    for at in (moov, trak):
        (size,) = struct.unpack(">I", data[at : at + 4])
        data[at : at + 4] = struct.pack(">I", size + len(meta))
    data[trak + trak_size : trak + trak_size] = meta
    path.write_bytes(data)
    return path


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", 8 + len(payload)) + kind + payload


def _mux(out: Any, packet: Any, shift: int, unit: Fraction) -> None:
    if shift:
        ticks = int(shift * unit / packet.time_base)
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    out.mux(packet)


def _mux_sound(out: Any, stream: Any, seconds: float) -> None:
    """A tone whose pitch rises, so that a shift would be heard and measured."""
    t = np.arange(int(seconds * 48_000)) / 48_000
    wave = (8000 * np.sin(2 * np.pi * (300 * t + 200 * t * t))).astype(np.int16)
    for start in range(0, len(wave), 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
