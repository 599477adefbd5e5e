"""The table of export formats, which the command line, the app's downloads and docs/formats.md read.

A new format is a module beside this one with a ``write_<name>`` and a row here.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

from body4d.core.errors import MissingDependencyError, SettingsError
from body4d.export.options import ExportOptions, flag


@dataclass(frozen=True)
class ExportFormat:
    """One row of the table."""

    name: str
    file: str
    """Name of the file in a folder. With ``{id}`` there is one for each person; with ``{frame}`` too, one for each frame."""
    what: str
    audience: str
    writer: str
    """Module and function: ``(scene, path, options)``, ``(scene, track, path, options)`` for a file per person, or ``(scene, folder,
    options)``, which returns its paths, for a file per frame."""
    options: tuple[str, ...] = ()
    """Fields of ``ExportOptions`` that it reads, besides ``person``, which all do."""
    extra: str = ""
    """The extra of body4d that installs what it needs."""
    packages: tuple[str, ...] = field(default=())
    together: str = ""
    """Module and function that write everybody into one file, ``(scene, path, options)``, where a file per person is the rule."""
    program: str = ""
    """Module and function that find the program which writes it, ``(options)``, or raise MissingDependencyError."""
    endings: tuple[str, ...] = ()
    """Endings that its file may have besides."""
    check: str = ""
    """Module and function that refuse, of the options alone, what could not be written, before the first file is."""
    download: str = ""
    """What the app's page calls it; "" keeps it from that page."""

    @property
    def ending(self) -> str:
        """Of its files' names, without the dot."""
        return self.file.rpartition(".")[2]

    @property
    def per_person(self) -> bool:
        return "{id}" in self.file and not self.per_frame

    @property
    def per_frame(self) -> bool:
        return "{frame}" in self.file

    def has_ending(self, suffix: str) -> bool:
        """Whether its files may end in ``suffix``, which has a dot."""
        return suffix.lower().removeprefix(".") in (self.ending, *self.endings)

    @property
    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.packages if importlib.util.find_spec(name) is None]

    def require(self, options: ExportOptions) -> None:
        """Raise MissingDependencyError, with the command that installs it, where a package or a program is missing."""
        if self.missing:
            raise MissingDependencyError(
                f"Writing {self.name} needs the package {', '.join(self.missing)}, which is not installed.",
                code="missing_package",
                hint=f"Install it with: pip install 'body4d[{self.extra}]'",
                packages=self.missing,
            )
        if self.program:
            self.load(self.program)(options)

    def load(self, writer: str = "") -> Callable[..., Any]:
        """The function that writes it, or another ``writer`` of the row."""
        module, _, function = (writer or self.writer).partition(":")
        return attrgetter(function)(importlib.import_module(f"body4d.export.{module}"))


_SKELETON = ("rig", "rest", "units", "fps")
_CHARACTER = ("rig", "rest")
_SMPL = ("body_models", "fps")

_TABLE = (
    ExportFormat(
        "glb", "body.glb", "Everybody, rigged, skinned and animated, with the camera", "Blender, Unity, Godot, three.js", "glb:write_glb",
        options=(*_CHARACTER, "camera"),
    ),
    ExportFormat(
        "bvh", "person_{id}.bvh", "Skeleton and its motion", "Blender, MotionBuilder, Maya, Unity; robots (--rig lafan)", "bvh:write_bvh",
        options=(*_SKELETON, "together"), together="bvh:write_bvh_together", download="Skeleton of",
    ),
    ExportFormat(
        "fbx", "person_{id}.fbx", "A person, rigged, skinned and animated", "Unreal, Unity, Maya, MotionBuilder, Cinema 4D",
        "fbx:write_fbx", options=(*_SKELETON, "together", "camera", "blender"), together="fbx:write_fbx_together",
        program="fbx:BlenderProgram.find",
    ),
    ExportFormat(
        "usd", "body.usdc", "Everybody, rigged, skinned and animated, with the camera",
        "Houdini, Maya, Omniverse, Blender; telephones (.usdz)", "usd:write_usd",
        options=(*_CHARACTER, "camera", "fps"), extra="usd", packages=("pxr",), endings=("usd", "usda", "usdz"),
    ),
    ExportFormat("vrma", "person_{id}.vrma", "Movement for any VRM avatar", "VRM viewers and avatar programs", "vrma:write_vrma"),
    ExportFormat(
        "trc", "person_{id}.trc", "Markers, millimetres, facing +X", "OpenSim, Pose2Sim, OpenCap's models", "trc:write_trc",
        options=("markers", "fps"), download="OpenSim markers of",
    ),
    ExportFormat(
        "c3d", "person_{id}.c3d", "Markers with their residuals", "Visual3D, Vicon, Mokka, OpenSim", "c3d:write_c3d",
        options=("markers", "fps", "up"), extra="biomech", packages=("ezc3d",), download="Marker file of",
    ),
    ExportFormat("ply", "person_{id}_{frame}.ply", "Meshes, frame by frame", "Blender, MeshLab, Open3D", "mesh_files:write_ply"),
    ExportFormat("obj", "person_{id}_{frame}.obj", "Meshes, frame by frame, as text", "any 3D program", "mesh_files:write_obj"),
    ExportFormat(
        "abc", "body.abc", "Moving meshes (Alembic)", "Blender, Maya, Houdini, Cinema 4D", "alembic:write_alembic",
        extra="alembic", packages=("alembic3d",),
    ),
    ExportFormat(
        "smpl", "person_{id}_smpl.npz", "SMPL's parameters, by AMASS's keys, z up", "SMPL tools, research", "smpl:write_smpl",
        options=_SMPL, check="smpl:check_smpl",
    ),
    ExportFormat(
        "smplx", "person_{id}_smplx.npz", "SMPL-X's parameters, by AMASS's keys, z up", "SMPL-X tools, robots (GMR)", "smpl:write_smplx",
        options=_SMPL, check="smpl:check_smplx",
    ),
    ExportFormat(
        "rrd", "body.rrd", "Video, keypoints, joints, meshes, camera and speeds", "Rerun", "rerun_file:write_rrd",
        options=("video", "mesh"), extra="rerun", packages=("rerun",),
    ),
    ExportFormat(
        "npz", "body.npz", "Arrays and rigs", "Python with numpy, without body4d", "npz:write_body_npz", download="Numbers for Python"
    ),
    ExportFormat("csv", "joints.csv", "Joints as a table", "pandas, R, Excel", "csv:write_csv", download="Joints as a table"),
    ExportFormat(
        "parquet", "joints.parquet", "The same table, typed and packed", "pandas, Polars, DuckDB, Spark", "parquet:write_parquet",
        extra="parquet", packages=("pyarrow",),
    ),
    ExportFormat("html", "body.html", "One page with the moving bodies", "any browser, no network", "html:write_html"),
)  # fmt: skip

FORMATS: dict[str, ExportFormat] = {row.name: row for row in _TABLE}


def find_format(name: str) -> ExportFormat:
    """The row of ``name``, which may have a dot and capitals. Raises SettingsError."""
    key = name.strip().lower().removeprefix(".")
    if key not in FORMATS:
        nearest = get_close_matches(key, FORMATS, n=1, cutoff=0.0)[0]
        raise SettingsError(
            f"There is no export format {key!r}.",
            code="unknown_format",
            hint=f"Did you mean {nearest!r}? Known are {', '.join(FORMATS)}.",
            format=key,
            nearest=nearest,
        )
    return FORMATS[key]


def formats_table() -> str:
    """The table in Markdown, for docs/formats.md (``python scripts/formats_page.py``)."""
    rows = ["| format | file | what | for whom | options | needs |", "|---|---|---|---|---|---|"]
    for row in FORMATS.values():
        file = row.file.replace("{id}", "<id>").replace("{frame}", "<n>")
        options = ", ".join(f"`{flag(name)}`" for name in row.options)
        needs = f"`pip install 'body4d[{row.extra}]'`" if row.extra else "[Blender](#fbx)" if row.program else ""
        rows.append(f"| `{row.name}` | `{file}` | {row.what} | {row.audience} | {options} | {needs} |")
    return "\n".join(rows)
