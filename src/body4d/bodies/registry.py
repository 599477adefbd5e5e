"""The body models by name. What a scene stores is a name; this finds what stands behind it."""

from body4d.core.rig import BodyModel, Rig
from body4d.core.types import BodyTrack


def rig_of(track: BodyTrack) -> Rig:
    """The body of ``track``: the one it carries, else made anew by its model. Raises as :func:`body_model`."""
    return track.rig if track.rig is not None else body_model(track.body).rig(track.shape)


def body_model(name: str) -> BodyModel:
    """The body model called ``name``, built once per process; raises ValueError for an unknown name.

    "anny"; "mhr", which needs its rig file (WeightsError says which); "surface:<mesh file>", a surface known at one moment.
    """
    if name == "anny":
        from body4d.bodies.anny import anny_body

        return anny_body()
    if name == "mhr":
        from body4d.bodies.mhr.module import mhr_body

        return mhr_body()
    if name.startswith("surface:"):
        from body4d.bodies.mhr.surface import surface_body

        return surface_body(name.removeprefix("surface:"))
    raise ValueError(f"unknown body model {name!r}; known: anny, mhr, surface:<mesh file>")
