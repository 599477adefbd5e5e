"""Arrays as accessors and buffer views of a glTF document, so that glb.py deals with meshes and joints alone."""

from typing import Any

import numpy as np
import pygltflib as gl

_COMPONENT = {"f4": gl.FLOAT, "u1": gl.UNSIGNED_BYTE, "u2": gl.UNSIGNED_SHORT, "u4": gl.UNSIGNED_INT}
_TYPE = {1: gl.SCALAR, 3: gl.VEC3, 4: gl.VEC4, 16: gl.MAT4}


class GltfBuilder:
    """A glTF document under construction. ``gltf`` is the document, filled by its owner; arrays are added by ``add``."""

    def __init__(self) -> None:
        self.gltf = gl.GLTF2()
        self._blob = bytearray()

    def add(self, array: np.ndarray, target: int | None = None, *, bounds: bool = False) -> int:
        """Append ``array`` (N,) or (N, 1|3|4|16) and return its accessor; ``target`` is glTF's buffer view target.

        ``bounds`` writes min and max, which glTF asks of positions and animation times.
        """
        array = np.ascontiguousarray(array)
        rows = array.reshape(len(array), -1)
        view = gl.BufferView(buffer=0, byteOffset=len(self._blob), byteLength=array.nbytes, target=target)
        self._blob += array.tobytes()
        self._blob += b"\0" * (-len(self._blob) % 4)  # every view starts on a multiple of its largest component
        accessor = gl.Accessor(
            bufferView=len(self.gltf.bufferViews),
            componentType=_COMPONENT[array.dtype.str[1:]],
            count=len(array),
            type=_TYPE[rows.shape[1]],
            min=rows.min(0).tolist() if bounds else None,
            max=rows.max(0).tolist() if bounds else None,
        )
        self.gltf.bufferViews.append(view)
        self.gltf.accessors.append(accessor)
        return len(self.gltf.accessors) - 1

    def node(self, **fields: Any) -> int:
        """Append a node and return its index."""
        self.gltf.nodes.append(gl.Node(**fields))
        return len(self.gltf.nodes) - 1

    def to_bytes(self) -> bytes:
        """The finished GLB."""
        self.gltf.buffers = [gl.Buffer(byteLength=len(self._blob))]
        self.gltf.set_binary_blob(bytes(self._blob))
        return b"".join(self.gltf.save_to_bytes())
