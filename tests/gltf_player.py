"""A small independent reader and player of GLB files: struct, json and numpy; nothing of body4d or of the library that wrote them."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

_DTYPE = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTH = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Player:
    """Plays the first animation of a GLB and skins its meshes, as the glTF 2.0 specification words it (3.7.3.3, 3.11)."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", content)
        assert (magic, version, length) == (b"glTF", 2, len(content))
        size, kind = struct.unpack_from("<I4s", content, 12)
        assert kind == b"JSON"
        self.doc: dict[str, Any] = json.loads(content[20 : 20 + size])
        size_bin, kind = struct.unpack_from("<I4s", content, 20 + size)
        assert kind == b"BIN\0"
        self._bin = content[28 + size : 28 + size + size_bin]
        self.nodes = self.doc["nodes"]
        self.parent = {child: i for i, node in enumerate(self.nodes) for child in node.get("children", ())}

    def array(self, accessor: int) -> np.ndarray:
        a = self.doc["accessors"][accessor]
        view = self.doc["bufferViews"][a["bufferView"]]
        dtype, width = np.dtype(_DTYPE[a["componentType"]]), _WIDTH[a["type"]]
        start = view.get("byteOffset", 0) + a.get("byteOffset", 0)
        flat = np.frombuffer(self._bin, dtype, a["count"] * width, start)
        return flat.reshape(-1, width) if width > 1 else flat

    def node(self, name: str) -> int:
        return next(i for i, node in enumerate(self.nodes) if node.get("name") == name)

    def duration(self) -> float:
        return max(float(self.array(s["input"])[-1]) for s in self.doc["animations"][0]["samplers"])

    def channels(self) -> dict[tuple[int, str], dict[str, Any]]:
        animation = self.doc["animations"][0]
        return {(c["target"]["node"], c["target"]["path"]): animation["samplers"][c["sampler"]] for c in animation["channels"]}

    def _value(self, sampler: dict[str, Any], time: float) -> np.ndarray:
        times, values = self.array(sampler["input"]), self.array(sampler["output"]).astype(np.float64)
        if time <= times[0]:
            return values[0]
        if time >= times[-1]:
            return values[-1]
        i = int(np.searchsorted(times, time, side="right")) - 1
        if sampler["interpolation"] == "STEP":
            return values[i]
        share = (time - times[i]) / (times[i + 1] - times[i])
        a, b = values[i], values[i + 1]
        if values.shape[1] == 3:
            return a + share * (b - a)
        cosine = np.clip(a @ b, -1, 1)  # no sign flip: continuous signs are the writer's duty here
        angle = np.arccos(cosine)
        if angle < 1e-6:
            return a
        return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)

    def world(self, time: float) -> np.ndarray:
        """Global matrices (N, 4, 4) of all nodes at ``time``."""
        channels = self.channels()
        local = []
        for i, node in enumerate(self.nodes):
            at = {path: self._value(channels[i, path], time) for path in ("translation", "rotation", "scale") if (i, path) in channels}
            x, y, z, w = at.get("rotation", node.get("rotation", (0, 0, 0, 1)))
            matrix = np.eye(4)
            matrix[:3, :3] = [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
            matrix[:3, :3] *= np.asarray(at.get("scale", node.get("scale", (1, 1, 1))))
            matrix[:3, 3] = at.get("translation", node.get("translation", (0, 0, 0)))
            local.append(matrix)
        out: dict[int, np.ndarray] = {}

        def reach(i: int) -> np.ndarray:
            if i not in out:
                out[i] = (reach(self.parent[i]) if i in self.parent else np.eye(4)) @ local[i]
            return out[i]

        return np.stack([reach(i) for i in range(len(self.nodes))])

    def vertices(self, name: str, time: float) -> np.ndarray:
        """Skinned vertices (V, 3) of the node called ``name`` at ``time``."""
        node = self.nodes[self.node(name)]
        attributes = self.doc["meshes"][node["mesh"]]["primitives"][0]["attributes"]
        skin = self.doc["skins"][node["skin"]]
        inverse = np.swapaxes(self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4), 1, 2).astype(np.float64)
        joints = self.world(time)[skin["joints"]] @ inverse
        points = np.c_[self.array(attributes["POSITION"]), np.ones(self.doc["accessors"][attributes["POSITION"]]["count"])]
        blended = np.einsum("vk,vkab->vab", self.array(attributes["WEIGHTS_0"]), joints[self.array(attributes["JOINTS_0"])])
        return np.einsum("vab,vb->va", blended, points)[:, :3]
