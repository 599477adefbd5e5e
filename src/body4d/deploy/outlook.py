"""Which preset a starting Space will serve, and what it has to fetch before. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from body4d.checkpoints.local import Found
from body4d.checkpoints.sources import Checkpoint
from body4d.config import DoctorSettings
from body4d.doctor.check_machine import check_cuda, check_gpu, check_memory
from body4d.doctor.verdict import Preset
from body4d.runtime.hardware import NvidiaDriver, TorchInfo


@dataclass(frozen=True)
class Outlook:
    """``preset`` will be served once ``to_fetch`` is here. ``why`` says on the page why it is not sam (empty where it is, or was not
    wanted); ``gated``: because of a gate."""

    preset: str
    to_fetch: tuple[Checkpoint, ...] = ()
    why: str = ""
    gated: bool = False


def first(
    wanted: Preset,
    driver: NvidiaDriver | None,
    torch: TorchInfo | None,
    memory_bytes: int,
    found: tuple[Found, ...],
    settings: DoctorSettings,
) -> Outlook:
    """What is to be done on this hardware. A Space without a GPU that can be used serves lite, even where sam was asked for."""
    if wanted == "lite":
        return Outlook("lite")
    # "auto" is stopped by whatever sam cannot be served with at a bearable speed.
    checks = [check_gpu(driver, torch, "auto"), check_cuda(driver, torch, "auto"), *check_memory(torch, memory_bytes, "auto", settings)]
    amiss = [remark for remark in checks if "sam" in remark.stops]
    if amiss:
        # Where the GPU is there and CUDA is the matter, the second says more than the first.
        last = amiss[-1]
        return Outlook("lite", (), f"Preset lite was taken, not sam ({last.name}: {last.found}).")
    lacking = tuple(one.model for one in found if not one.ready and one.model.need != "optional")
    return Outlook("sam", lacking)


def after(outlook: Outlook, refused: Mapping[str, tuple[str, bool]]) -> Outlook:
    """What is left after fetching. ``refused`` by the checkpoint's key: the sentence, and whether a gate was the matter."""
    needed = [refused[model.key] for model in outlook.to_fetch if model.key in refused and model.need == "required"]
    if not needed:
        return Outlook(outlook.preset)
    # A gate is what its owner can do something about, so it comes first.
    said, gated = next((one for one in needed if one[1]), needed[0])
    return Outlook("lite", (), said, gated)
