"""A small model with two sources, one behind a gate, and what is in its files."""

from body4d.checkpoints.registry import Checkpoint, CheckpointSource, Licence, PublishedFile

TOKEN = "hf_aSecretThatNobodyMaySee"
WEIGHTS = bytes(range(256)) * 9000
"""2.3 MB: three blocks."""

GATED = CheckpointSource(
    "maker/model",
    Licence("Maker License", "https://huggingface.co/maker/model"),
    files=(PublishedFile("model.ckpt"),),
    patterns=("config.json", "assets/*"),
    gated=True,
    about="as published",
)
OPEN = CheckpointSource("copier/repack", GATED.licence, patterns=("*.ckpt", "config.json"), about="a repack")
MODEL = Checkpoint("moge", "Model", "camera", "required", (GATED, OPEN), (("model.ckpt", "config.json"),))
