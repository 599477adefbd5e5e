"""Scenes as files other programs open: one module per format, all named in ``formats``. What each file holds: docs/files.md."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from body4d.core.errors import InputError, NoPersonError, SettingsError
from body4d.core.types import Scene
from body4d.export.formats import FORMATS, ExportFormat, find_format
from body4d.export.options import ExportOptions

__all__ = ["FORMATS", "ExportOptions", "check_export", "chosen_people", "export_scene", "page_formats"]


def export_scene(scene: Scene, fmt: str, out: str | os.PathLike[str], options: ExportOptions | None = None) -> list[Path]:
    """Write ``scene`` as ``fmt`` (a key of ``FORMATS``) and return the files written, in order.

    ``out`` that ends as the format's files do is the file to write; anything else is a folder, made where missing, that gets the names of
    the table.
    Where a format has a file for each person and one file is asked for, ``_person_<id>`` goes before the ending of each, if there are
    several. PLY and OBJ are many files and want a folder. Raises SettingsError for an unknown format or an ``out`` of another format's
    ending, NoPersonError for a scene without people, MissingDependencyError where a package is not installed, WeightsError where a body
    model or map is missing, OutputError where it cannot be written.
    """
    options, out = options or ExportOptions(), Path(out)
    row = check_export([fmt], out, options)[0]
    scene = chosen_people(scene, options)
    write, is_file = row.load(), _is_file(row, out)
    if row.per_frame:
        return write(scene, out, options)
    if options.together:
        path = out if is_file else out / f"everybody.{row.name}"
        row.load(row.together)(scene, path, options)
        return [path]
    if not row.per_person:
        path = out if is_file else out / row.file
        write(scene, path, options)
        return [path]
    paths = []
    for track in scene.people:
        path = out / row.file.format(id=track.person_id)
        if is_file:
            path = out if len(scene.people) == 1 else out.with_stem(f"{out.stem}_person_{track.person_id}")
        write(scene, track, path, options)
        paths.append(path)
    return paths


def check_export(names: Sequence[str], out: Path, options: ExportOptions) -> list[ExportFormat]:
    """The formats of ``names``, after all that can be refused before the first is written. Raises as ``export_scene``."""
    rows = [find_format(name) for name in names]
    for row in rows:
        others = any(other.has_ending(out.suffix) for other in FORMATS.values())
        if others and not row.has_ending(out.suffix) and not out.is_dir():
            raise SettingsError(
                f"{out} ends in {out.suffix}, but the format is {row.name}.",
                code="wrong_file_ending",
                hint=f"Give a name that ends in .{row.ending}, or a folder.",
            )
        if row.per_frame and _is_file(row, out):
            raise SettingsError(
                f"{row.name.upper()} export writes a file for each person and frame, and {out} is one file.",
                code=f"{row.name}_needs_folder",
                hint="Give a folder.",
            )
        row.require(options)
        if row.check:
            row.load(row.check)(options)
    if sum(_is_file(row, out) for row in rows) > 1:
        raise SettingsError(
            f"{out} is one file, and {', '.join(row.name for row in rows)} are several.", code="one_file_for_several", hint="Give a folder."
        )
    unused = [name for name in options.changed() if not any(_reads(row, name) for row in rows)]
    if unused:
        raise SettingsError(
            f"None of {', '.join(row.name for row in rows)} has a choice of {' or '.join(unused)}.",
            code="option_of_other_format",
            hint="Leave it out, or see docs/formats.md for the formats that have it.",
            options=unused,
        )
    return rows


def _reads(row: ExportFormat, option: str) -> bool:
    return option == "person" or option in row.options


def _is_file(row: ExportFormat, out: Path) -> bool:
    return row.has_ending(out.suffix) and not out.is_dir()


def page_formats() -> list[str]:
    """Names of the formats that the app's page offers and whose packages are installed."""
    return [row.name for row in FORMATS.values() if row.download and not row.missing]


def chosen_people(scene: Scene, options: ExportOptions) -> Scene:
    """The scene with the people of ``options`` alone. Raises NoPersonError for a scene without people, InputError for an unknown person."""
    people = tuple(track for track in scene.people if len(track))
    if not people:
        raise NoPersonError(f"There is nothing to export: nobody was tracked in {scene.clip.path.name}.", code="nobody_to_export")
    if options.person is not None:
        known = [track.person_id for track in people]
        people = tuple(track for track in people if track.person_id == options.person)
        if not people:
            raise InputError(
                f"There is no person {options.person} in this run.",
                code="no_such_person",
                hint=f"Known are {', '.join(map(str, known))}.",
                person=options.person,
            )
    return replace(scene, people=people)
