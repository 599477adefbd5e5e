"""The body models by name. A scene stores the name of its body model, and this module finds the model."""

from body4d.core.rig import BodyModel, Rig
from body4d.core.types import BodyTrack


def rig_of(track: BodyTrack) -> Rig:
    """The rig that ``track`` carries, else the one that its body model makes. Raises as ``body_model``."""
    return track.rig if track.rig is not None else body_model(track.body).rig(track.shape)


def body_model(name: str) -> BodyModel:
    """The body model "anny" or "mhr", built once per process.

    Raises ValueError for another name, MissingDependencyError without the package of "anny", WeightsError without the file of "mhr".
    """
    if name == "anny":
        from body4d.bodies.anny import anny_body

        return anny_body()
    if name == "mhr":
        from body4d.bodies.mhr.module import mhr_body

        return mhr_body()
    raise ValueError(f"unknown body model {name!r}; known: anny, mhr")
