"""Video in and out: probe a file, stream its frames, write one.

``probe`` turns a file into a ``body4d.core.types.Clip``, ``VideoReader`` streams a clip's frames with bounded memory, and
``VideoWriter`` writes frames with a clip's exact timing.
"""

from body4d.video.probe import clip_hash, probe, select_frames
from body4d.video.reader import VideoReader
from body4d.video.writer import VideoWriter

__all__ = ["VideoReader", "VideoWriter", "clip_hash", "probe", "select_frames"]
