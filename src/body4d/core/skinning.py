"""Linear blend skinning and vertex normals, compiled: these run for every vertex of every frame."""

import numpy as np

from body4d.core.compiled import compiled


@compiled
def skin(transforms: np.ndarray, rest: np.ndarray, indices: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (T, V, 3) with skinned vertices: sum_w weights[v, w] (A rest[v] + b), with A, b of joint indices[v, w].

    ``transforms`` (T, J, 12): per joint the rows of (A | b), 3 x 4. ``rest`` (V, 3), ``indices`` (V, W) int32, ``weights`` (V, W).
    All float32 and contiguous.
    """
    for t in range(transforms.shape[0]):
        for v in range(rest.shape[0]):
            x, y, z = rest[v, 0], rest[v, 1], rest[v, 2]
            sum_x = np.float32(0)
            sum_y = np.float32(0)
            sum_z = np.float32(0)
            for k in range(indices.shape[1]):
                w = weights[v, k]
                if w == 0:
                    continue
                a = transforms[t, indices[v, k]]
                sum_x += w * (a[0] * x + a[1] * y + a[2] * z + a[3])
                sum_y += w * (a[4] * x + a[5] * y + a[6] * z + a[7])
                sum_z += w * (a[8] * x + a[9] * y + a[10] * z + a[11])
            out[t, v, 0] = sum_x
            out[t, v, 1] = sum_y
            out[t, v, 2] = sum_z


@compiled
def add_face_normals(vertices_m: np.ndarray, faces: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (V, 3) float32 with unit normals: the mean of the faces around a vertex, weighted by area; zero without any."""
    out[:] = 0
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = vertices_m[j, 0] - vertices_m[i, 0], vertices_m[j, 1] - vertices_m[i, 1], vertices_m[j, 2] - vertices_m[i, 2]
        bx, by, bz = vertices_m[k, 0] - vertices_m[i, 0], vertices_m[k, 1] - vertices_m[i, 1], vertices_m[k, 2] - vertices_m[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 0:
            out[v, 0] /= length
            out[v, 1] /= length
            out[v, 2] /= length


def vertex_normals(vertices_m: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) float32 that point out of a surface whose ``faces`` (F, 3) are counter-clockwise seen from outside."""
    vertices = np.ascontiguousarray(vertices_m, np.float32)
    out = np.empty_like(vertices)
    add_face_normals(vertices, np.ascontiguousarray(faces, np.int32), out)
    return out
