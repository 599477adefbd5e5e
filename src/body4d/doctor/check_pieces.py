"""Codecs, the renderer, checkpoints and their gates: what each means for the presets. Pure."""

from collections.abc import Mapping

from body4d.checkpoints.gated_access import Access
from body4d.checkpoints.local import Found
from body4d.doctor.facts import Drawing, Weights
from body4d.doctor.verdict import PRESETS, Remark

CODECS: tuple[tuple[str, str, str], ...] = (
    ("h264", "r", "reading most clips"),
    ("hevc", "r", "reading iPhone clips"),
    ("libx264", "w", "writing pictures"),
    ("aac", "w", "writing their sound"),
)
"""Name, direction and use of each codec a run may want."""

_WITHOUT_IT_NOTHING = ("h264", "libx264")


def check_codecs(codecs: Mapping[str, bool]) -> Remark:
    """Whether PyAV's ffmpeg reads and writes what runs want."""
    missing = [(name, use) for name, _, use in CODECS if not codecs.get(name)]
    if not missing:
        return Remark("video codecs", f"{', '.join(name for name, _, _ in CODECS)} all there")
    said = " and ".join(f"{name} ({use})" for name, use in missing)
    stops = PRESETS if any(name in _WITHOUT_IT_NOTHING for name, _ in missing) else frozenset[str]()
    return Remark("video codecs", f"{said} missing in PyAV's ffmpeg", "pip install --force-reinstall --only-binary :all: av", stops)


def check_drawing(drawing: Drawing) -> Remark:
    """Whether the renderer drew its picture: a square over the middle of a small one."""
    if drawing.error:
        return Remark("renderer", f"drew nothing ({drawing.error})", "pip install --force-reinstall numba llvmlite", PRESETS)
    if not 0.2 < drawing.covered < 0.3:
        found = f"drew a square over {drawing.covered:.0%} of a picture instead of a quarter"
        return Remark("renderer", found, "report this with the versions of numba and numpy", PRESETS)
    return Remark("renderer", "drew a small picture as it should be")


def check_weights(weights: Weights) -> list[Remark]:
    """A remark for each checkpoint; only those that sam cannot do without stop it."""
    return [_checkpoint(found) for found in weights.found]


def _checkpoint(found: Found) -> Remark:
    name, needed = f"checkpoint {found.model.name}", found.model.need == "required"
    if found.ready:
        return Remark(name, f"{found.place}, {found.size_bytes / 1e9:.1f} GB")
    if found.state == "absent" and not needed:
        what = "used where it is there" if found.model.need == "recommended" else "only for people who are hidden for long"
        return Remark(name, f"not here ({what})")
    said, _, remedy = found.sentence.rstrip(".").partition(": ")
    stops = frozenset({"sam"}) if needed else frozenset[str]()
    return Remark(name, said, remedy or f"`body4d weights download {found.model.key}`", stops)


def check_gate(weights: Weights) -> list[Remark]:
    """Whether the checkpoints sam lacks could be fetched from here, and which gate is shut. What is lacking stops sam already."""
    wanting = [found.model for found in weights.found if not found.ready and found.model.need == "required"]
    if not wanting:
        return [Remark("gates", "not asked: no checkpoint is lacking")]
    if not weights.asked:
        names = " and ".join(model.name for model in wanting)
        return [Remark("gates", f"not asked; {names} would have to be fetched", "`body4d weights status` asks which gates are open")]
    return [_gate(model.name, [answer for answer in weights.access if answer.source in model.sources]) for model in wanting]


def _gate(name: str, answers: list[Access]) -> Remark:
    open_one = next((answer for answer in answers if answer.granted), None)
    if open_one is not None:
        return Remark(f"gate of {name}", f"{open_one.source.repo} can be fetched from here")
    shut = next((answer for answer in answers if answer.sentence), None)
    if shut is None:
        return Remark(f"gate of {name}", "the Hub did not say in time", "ask again with `body4d weights status`")
    said, _, remedy = shut.sentence.partition(": ")
    return Remark(f"gate of {name}", said, remedy.rstrip(".") or f"open {shut.page}")
