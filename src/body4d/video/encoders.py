"""Which H.264 encoder writes the pictures: x264 on the CPU, or NVENC, the encoder on many of NVIDIA's cards."""

from functools import lru_cache
from io import BytesIO
from typing import Any, Literal

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from body4d.core.errors import DeviceError

Encoder = Literal["x264", "nvenc"]

CODECS: dict[Encoder, str] = {"x264": "libx264", "nvenc": "h264_nvenc"}
"""FFmpeg's names."""

NVENC_MIN_PX, NVENC_MAX_PX = 160, 4096
"""Sides that NVENC takes in H.264 on every card: the least differs between them and is below this on all we know of."""

_PROBE_FRAMES = 8


def encoder_options(encoder: Encoder, crf: float, preset: str, max_key_distance: int | None) -> dict[str, str]:
    """FFmpeg's options for a constant quality ``crf`` of x264's scale; ``preset`` is x264's and NVENC's is fixed."""
    keys = {} if max_key_distance is None else {"g": str(max_key_distance)}
    if encoder == "nvenc":
        # "cq" is a quantizer on the scale of crf, and only without a bit rate to keep to. p5 is what NVIDIA calls "slow (good quality)".
        return {"preset": "p5", "tune": "hq", "rc": "vbr", "cq": f"{crf:g}", "b": "0", "spatial-aq": "1", **keys}
    # x264's macroblock tree on AVX-512 machines gives other bytes now and then for the very same pictures (PyAV 18.1, measured:
    # 20 variants in 30 encodes of 1600x720); without it they are the same every time.
    return {"crf": f"{crf:g}", "preset": preset, "mbtree": "0", **keys}


def possible_encoders(asked: Literal["auto", "x264", "nvenc"], width_px: int, height_px: int) -> tuple[Encoder, ...]:
    """The encoders to try, in order, for a picture size: on ``auto`` NVENC where it works, and x264 should it fail after all.

    Raises DeviceError where NVENC is asked for and cannot do it.
    """
    if asked == "x264":
        return ("x264",)
    fits = all(NVENC_MIN_PX <= side <= NVENC_MAX_PX for side in (width_px, height_px))
    if asked == "auto":
        return ("nvenc", "x264") if fits and nvenc_problem() is None else ("x264",)
    require_nvenc()
    if not fits:
        raise _missing(f"it does not take pictures of {width_px}x{height_px}")
    return ("nvenc",)


def require_nvenc() -> None:
    """Raise DeviceError where this machine has no NVENC that works."""
    problem = nvenc_problem()
    if problem is not None:
        raise _missing(problem)


def _missing(reason: str) -> DeviceError:
    hint = "Use pictures.encoder=auto, which takes it where it is there. Cards for data centres such as A100, H100 and H200 have none."
    return DeviceError(f"The pictures cannot be encoded by NVENC: {reason}.", code="nvenc_missing", hint=hint, reason=reason)


@lru_cache(maxsize=1)
def nvenc_problem() -> str | None:
    """Why NVENC does not work on this machine, as half a sentence; None where it does. Some frames are encoded once in a process."""
    if CODECS["nvenc"] not in av.codecs_available:
        return "this FFmpeg is built without it"
    try:
        with av.open(BytesIO(), "w", format="mp4") as container:
            stream: Any = container.add_stream(CODECS["nvenc"], rate=30, options=encoder_options("nvenc", 18, "", None))
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            packets = 0
            for level in range(_PROBE_FRAMES):
                grey = VideoFrame.from_ndarray(np.full((360, 320), 16 * level, np.uint8), format="yuv420p")
                packets += len(stream.encode(grey))
            packets += len(stream.encode(None))
    except (OSError, FFmpegError) as error:
        return f"the driver does not open it ({getattr(error, 'strerror', None) or error})"
    return None if packets == _PROBE_FRAMES else "it loses frames"
