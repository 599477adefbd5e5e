"""Disk, write rights and the environment of a Space: what each means for the presets. Pure."""

from body4d.config import DoctorSettings
from body4d.doctor.facts import Place, Space, Weights
from body4d.doctor.verdict import PRESETS, Remark

_GB = 1e9


def check_runs(place: Place, settings: DoctorSettings) -> Remark:
    """Whether results can be written where runs go."""
    name, free = "run folder", place.free_bytes / _GB
    if place.error:
        remedy = "work in a folder of your own, or name one with --out"
        return Remark(name, f"{place.path} cannot be written ({place.error})", remedy, PRESETS)
    if free < settings.runs_disk_least_gb:
        return Remark(name, f"{place.path} has only {free:.2f} GB left", "delete old runs, or name another disk with --out", PRESETS)
    if free < settings.runs_disk_gb:
        remedy = f"delete old runs; long clips may not end with less than {settings.runs_disk_gb:.0f} GB"
        return Remark(name, f"{place.path} has {free:.1f} GB left", remedy)
    return Remark(name, f"{place.path} can be written, {free:.0f} GB free")


def check_checkpoint_disk(place: Place, weights: Weights, spare_gb: float) -> Remark:
    """Whether the checkpoints that sam still lacks fit where they would go. Where none is lacking, rights and room do not matter."""
    name = "checkpoint folder"
    wanting = [found.model for found in weights.found if not found.ready and found.model.need != "optional"]
    if not wanting:
        return Remark(name, f"{place.path}, nothing to be fetched")
    needed = sum(model.sources[0].size_bytes or max(file.size_bytes or 0 for file in model.sources[0].files) for model in wanting) / _GB
    free = place.free_bytes / _GB
    if place.error:
        remedy = "name a folder you may write with --weights or $BODY4D_WEIGHTS"
        return Remark(name, f"{place.path} cannot be written ({place.error}), and {needed:.1f} GB are to go there", remedy)
    if free < needed + spare_gb:
        remedy = "free some room, or name another disk with --weights or $BODY4D_WEIGHTS"
        return Remark(name, f"{place.path} has {free:.1f} GB left, and {needed:.1f} GB are to go there", remedy)
    return Remark(name, f"{place.path} can be written, {free:.0f} GB free for {needed:.1f} GB to be fetched")


def check_space(space: Space) -> list[Remark]:
    """What a Space wants beside a machine: a disk that outlives it, and a token. Nothing here stops a run."""
    if not space.space_id:
        return [Remark("Space", "this is none")]
    remarks = [Remark("Space", space.space_id)]
    if not space.data_mounted:
        remedy = (
            "`body4d space create OWNER/NAME --bucket OWNER/DATA` mounts one; without it checkpoints are fetched anew after each restart"
        )
        remarks.append(Remark("Space's disk", "nothing is mounted at /data", remedy))
    elif not space.data_writable:
        remarks.append(Remark("Space's disk", "/data is mounted and cannot be written", "mount it for writing, for user 1000"))
    else:
        remarks.append(Remark("Space's disk", "/data is mounted and can be written"))
    if space.token:
        remarks.append(Remark("Space's token", "HF_TOKEN is set (not shown)"))
    else:
        remarks.append(
            Remark("Space's token", "the secret HF_TOKEN is not set", "`body4d space create OWNER/NAME --secret HF_TOKEN` sets it")
        )
    return remarks
