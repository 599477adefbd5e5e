"""Scenes as files other programs open: one module per format. What each file holds: docs/files.md."""

import os
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from body4d.core.errors import NoPersonError, SettingsError
from body4d.core.types import Scene

FORMATS: tuple[str, ...] = ("glb", "bvh", "ply", "npz", "csv", "html")


def export_scene(scene: Scene, fmt: str, out: str | os.PathLike[str]) -> list[Path]:
    """Write ``scene`` as ``fmt`` (one of ``FORMATS``) and return the files written, in order.

    ``out`` that ends in ``.<fmt>`` is the file to write; anything else is a folder, made where missing, that gets ``body.glb``,
    ``person_<id>.bvh``, ``frame_<n>_person_<id>.ply``, ``body.npz``, ``joints.csv`` or ``body.html``. PLY is many files and wants a folder.
    Raises SettingsError for an unknown format or an ``out`` of another format's ending, NoPersonError for a scene without people,
    OutputError where it cannot be written.
    """
    fmt, out = fmt.lower().removeprefix("."), Path(out)
    if fmt not in FORMATS:
        nearest = get_close_matches(fmt, FORMATS, n=1, cutoff=0.0)[0]
        raise SettingsError(
            f"There is no export format {fmt!r}.",
            code="unknown_format",
            hint=f"Did you mean {nearest!r}? Known are {', '.join(FORMATS)}.",
            format=fmt,
            nearest=nearest,
        )
    ending = out.suffix.lower().removeprefix(".")
    if ending in FORMATS and ending != fmt and not out.is_dir():
        raise SettingsError(
            f"{out} ends in .{ending}, but the format is {fmt}.",
            code="wrong_file_ending",
            hint=f"Give a name that ends in .{fmt}, or a folder.",
        )
    scene = replace(scene, people=tuple(track for track in scene.people if len(track)))
    if not scene.people:
        raise NoPersonError(f"There is nothing to export: nobody was tracked in {scene.clip.path.name}.", code="nobody_to_export")
    is_file = ending == fmt and not out.is_dir()
    if fmt == "glb":
        from body4d.export.glb import write_glb

        return write_glb(scene, out if is_file else out / "body.glb")
    if fmt == "bvh":
        from body4d.export.bvh import write_bvh

        return write_bvh(scene, out, one_file=is_file)
    if fmt == "ply":
        from body4d.export.ply import write_ply

        if is_file:
            raise SettingsError(
                f"PLY export writes a file for each person and frame, and {out} is one file.",
                code="ply_needs_folder",
                hint="Give a folder.",
            )
        return write_ply(scene, out)
    if fmt == "npz":
        from body4d.export.npz import write_body_npz

        return write_body_npz(scene, out if is_file else out / "body.npz")
    if fmt == "html":
        from body4d.export.html import write_html

        return write_html(scene, out if is_file else out / "body.html")
    from body4d.export.csv import write_csv

    return write_csv(scene, out if is_file else out / "joints.csv")
