"""Parquet: the table of the CSV with types, packed, through the package pyarrow (extra ``parquet``)."""

from pathlib import Path

from body4d.core.files import atomic_file
from body4d.core.types import Scene
from body4d.export.joint_table import joint_columns, joint_rows
from body4d.export.options import ExportOptions

_FRAMES_PER_GROUP = 8192
"""Rows of one person in a row group: some 4 MB of body29, which readers take in at once."""


def write_parquet(scene: Scene, path: Path, options: ExportOptions) -> None:
    """Write ``frame`` and ``person`` (int32), ``time_s`` (float64) and the joints' columns (float32; null where there is none)."""
    import pyarrow as pa  # pyright: ignore[reportMissingImports]
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]

    columns = joint_columns(scene)
    schema = pa.schema(
        [("frame", pa.int32()), ("time_s", pa.float64()), ("person", pa.int32()), *((name, pa.float32()) for name in columns)],
        metadata={"axes": "camera: x right, y down, z away", "units": "m"},
    )
    with atomic_file(path) as file, pq.ParquetWriter(file, schema) as writer:
        for rows in joint_rows(scene, _FRAMES_PER_GROUP):
            head = [pa.array(rows.frame, pa.int32()), pa.array(rows.time_s, pa.float64()), pa.array(rows.person, pa.int32())]
            body = [pa.array(rows.values[:, k], pa.float32(), from_pandas=True) for k in range(len(columns))]
            writer.write_table(pa.Table.from_arrays([*head, *body], schema=schema))
