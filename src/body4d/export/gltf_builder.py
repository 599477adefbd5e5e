"""Arrays as accessors and buffer views of a glTF document, so that glb.py deals with meshes and joints alone."""

import shutil
import struct
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
import pygltflib as gl

_COMPONENT = {"f4": gl.FLOAT, "u1": gl.UNSIGNED_BYTE, "u2": gl.UNSIGNED_SHORT, "u4": gl.UNSIGNED_INT}
_TYPE = {1: gl.SCALAR, 3: gl.VEC3, 4: gl.VEC4, 16: gl.MAT4}


class GltfBuilder:
    """A glTF document under construction. ``gltf`` is the document, filled by its owner; arrays are added by ``add``."""

    def __init__(self) -> None:
        self.gltf = gl.GLTF2()
        self._blob = TemporaryFile()  # noqa: SIM115  on the disk, so that memory does not grow with the clip; it goes with its last reference
        self._size = 0

    def add(self, array: np.ndarray, target: int | None = None, *, bounds: bool = False) -> int:
        """Append ``array`` (N,) or (N, 1|3|4|16) and return its accessor; ``target`` is glTF's buffer view target.

        ``bounds`` writes min and max, which glTF asks of positions and animation times.
        """
        array = np.ascontiguousarray(array)
        rows = array.reshape(len(array), -1)
        view = gl.BufferView(buffer=0, byteOffset=self._size, byteLength=array.nbytes, target=target)
        self._size += self._blob.write(array.data) + self._blob.write(b"\0" * (-array.nbytes % 4))  # every view starts on a multiple of 4
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

    def write(self, file: BinaryIO) -> None:
        """Write the finished GLB: glTF 2.0, 4.4."""
        self.gltf.buffers = [gl.Buffer(byteLength=self._size)]
        document = self.gltf.gltf_to_json(separators=(",", ":"), indent=None).encode()  # pyright: ignore[reportArgumentType]
        document += b" " * (-len(document) % 4)
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(document) + 8 + self._size))
        file.write(struct.pack("<I4s", len(document), b"JSON") + document)
        file.write(struct.pack("<I4s", self._size, b"BIN\0"))
        self._blob.seek(0)
        shutil.copyfileobj(self._blob, file)
