"""Everybody's body at each frame, posed chunk by chunk, so that memory does not grow with the clip."""

from dataclasses import dataclass

import numpy as np

from body4d.bodies.registry import rig_of
from body4d.config import PictureSettings
from body4d.core.rig import Rig
from body4d.core.types import BodyTrack, Scene
from body4d.render.certainty import vertex_uncertainty
from body4d.render.style import Rgb, body_opacity, person_colour

_CHUNK = 64


@dataclass(frozen=True)
class PosedPerson:
    """One person at one frame: ``rig`` posed by ``G`` (1, J, 3, 3), ``p`` (1, J, 3), with looks. ``head_m`` (3,) the nose, camera axes.

    ``doubts`` (V,) in [0, 1]: how unsure each vertex is, where that is to be shown.
    """

    place: int
    rig: Rig
    G: np.ndarray
    p: np.ndarray
    colour: Rgb
    opacity: float
    name: str
    head_m: np.ndarray
    doubts: np.ndarray | None = None

    def vertices_m(self) -> np.ndarray:
        """Skinned vertices (V, 3), camera axes. Takes a tenth of a millisecond, so that it is left to the thread that draws."""
        return self.rig.vertices(self.G, self.p)[0]


class ScenePoser:
    """Poses of everybody in ``scene``, asked for in rising order of frames. Not for several threads; what it returns is."""

    def __init__(self, scene: Scene, settings: PictureSettings) -> None:
        self._people = [_Person(place, track, scene, settings) for place, track in enumerate(scene.people)]

    def at(self, frame: int) -> list[PosedPerson]:
        """Everybody followed at a frame of the clip."""
        return [pose for person in self._people if (pose := person.at(frame)) is not None]


class _Person:
    def __init__(self, place: int, track: BodyTrack, scene: Scene, settings: PictureSettings) -> None:
        self._place, self._track = place, track
        self._rig = rig_of(track)
        self._opacity = body_opacity(track, scene.clip.times_s, settings)
        self._settings = settings
        self._nose = track.joint("nose")
        self._chunk: tuple[int, np.ndarray, np.ndarray, np.ndarray | None] | None = None

    def at(self, frame: int) -> PosedPerson | None:
        row = self._track.row(frame)
        if row is None:
            return None
        first = row - row % _CHUNK
        if self._chunk is None or self._chunk[0] != first:
            rows = slice(first, first + _CHUNK)
            posed = self._rig.forward(self._track.rotations[rows].astype(np.float64), self._track.translation_m[rows].astype(np.float64))
            self._chunk = (first, *posed, vertex_uncertainty(self._rig, self._track, rows, self._settings))
        _, G, p, doubts = self._chunk
        own = slice(row - first, row - first + 1)
        return PosedPerson(
            place=self._place,
            rig=self._rig,
            G=G[own],
            p=p[own],
            colour=person_colour(self._place),
            opacity=float(self._opacity[row]),
            name=str(self._track.person_id),
            head_m=self._nose[row],
            doubts=None if doubts is None else doubts[row - first],
        )
