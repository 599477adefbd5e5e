"""Which videos, into which folders, with which settings and prompts. Files are listed by name; none is opened."""

import csv
import fnmatch
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from glob import has_magic, iglob
from itertools import takewhile
from pathlib import Path
from typing import Any

from body4d.config import Settings
from body4d.config.loading import load_settings, nest, parse_value, read_yaml, valid_names
from body4d.core.errors import InputError, SettingsError
from body4d.core.types import Prompt
from body4d.run.prompt_text import parse_prompts
from body4d.run.record import RUN, read_record_if_any

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".3gp"})
"""What counts as a video in a folder. A list or a glob may name any file."""

_PROMPT_COLUMNS = ("text", "click", "unclick", "box")

SettingsTree = dict[str, Any]


@dataclass(frozen=True)
class VideoJob:
    """One video, the run folder it goes to, and how it is run. ``name`` is its path below the common folder of all videos."""

    name: str
    video: Path
    out: Path
    settings: Settings
    prompts: tuple[Prompt, ...] = ()
    export: tuple[str, ...] = ()
    golf: bool = False


@dataclass(frozen=True)
class VideoRow:
    """What is special to some videos: those whose name is ``pattern`` or matches it. ``origin`` says where this was written."""

    pattern: str
    origin: str
    settings: SettingsTree = field(default_factory=dict)
    prompts: tuple[Prompt, ...] = ()


@dataclass(frozen=True)
class VideoList:
    """Videos in order, below one folder, and the rows of the CSV that named them, if one did: the pattern of each is its video's path."""

    root: Path
    videos: tuple[Path, ...]
    rows: tuple[VideoRow, ...] = ()

    def name(self, video: Path) -> str:
        """A video's path below ``root``, with slashes."""
        return video.relative_to(self.root).as_posix()


def find_videos(source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], out: Path) -> VideoList:
    """The videos of a folder (with all below it), a list (one path a line, or a CSV with a column ``video``), a glob, or of many paths.

    What lies in ``out`` or in another run folder is no input. Raises InputError where there is none, SettingsError for a CSV that cannot be
    read.
    """
    rows: tuple[VideoRow, ...] = ()
    if not isinstance(source, str | os.PathLike):
        videos = [_absolute(path) for path in source]
    elif Path(source).is_dir():
        folder = _absolute(source)
        return _some_videos(VideoList(folder, tuple(sorted(_walk(folder, _absolute(out))))), source)
    elif has_magic(os.fspath(source)) and not Path(source).exists():
        videos = sorted(_absolute(path) for path in iglob(os.fspath(source), recursive=True) if Path(path).is_file())
        # Names below what is fixed in the pattern stay what they are, whatever else matches another time.
        fixed = takewhile(lambda part: not has_magic(part), Path(source).parts[:-1])
        return _some_videos(VideoList(_absolute(Path(*fixed)), tuple(videos)), source)
    elif Path(source).suffix.lower() in VIDEO_SUFFIXES:
        videos = [_absolute(source)]
    else:
        videos, rows = _read_list(Path(source))
    videos = list(dict.fromkeys(videos))
    root = Path(os.path.commonpath([video.parent for video in videos])) if videos else Path()
    return _some_videos(VideoList(root, tuple(videos), tuple(rows)), source)


def _some_videos(found: VideoList, source: Any) -> VideoList:
    if found.videos:
        return found
    raise InputError(
        f"No video was found in {source}.",
        code="no_videos",
        hint=f"A folder is searched for {', '.join(sorted(VIDEO_SUFFIXES))}; put a glob in quotes.",
    )


def _absolute(path: str | os.PathLike[str]) -> Path:
    # Links are kept: a mounted folder has one name on every machine, and the place it links to may not.
    return Path(os.path.abspath(path))


def _walk(folder: Path, out: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        if RUN in names or Path(here) == out:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(here, name) for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."))


def _read_list(path: Path) -> tuple[list[Path], tuple[VideoRow, ...]]:
    """Videos of a list file, relative to its folder."""
    if path.suffix.lower() == ".csv":
        rows = tuple(replace(row, pattern=str(_absolute(path.parent / row.pattern))) for row in read_rows(path))
        return [Path(row.pattern) for row in rows], rows
    lines = (line.strip() for line in _read_text(path).splitlines())
    return [_absolute(path.parent / line) for line in lines if line and not line.startswith("#")], ()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "") if isinstance(error, OSError) else "it is not text"
        raise InputError(
            f"{path} cannot be read as a list of videos ({reason}).",
            code="list_unreadable",
            hint="Name a folder, a file with one path a line, a CSV with a column 'video', or a glob in quotes.",
        ) from error


def read_rows(path: Path) -> Iterator[VideoRow]:
    """Rows of a CSV: ``video`` (a path or pattern), ``settings`` (a YAML file beside the CSV), the prompts ``text``, ``click``, ``unclick``
    and ``box`` as the command line takes them, several with semicolons, and any setting by name, such as ``camera.person_height_m``.

    Raises InputError where it cannot be read, SettingsError for an unknown column or a bad cell.
    """
    known = {"video", "settings", *_PROMPT_COLUMNS, *valid_names()}
    reader = csv.DictReader(_read_text(path).splitlines())
    columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    if unknown := [name for name in columns if name not in known]:
        raise SettingsError(
            f"{path} has the unknown column {unknown[0]!r}.",
            code="unknown_column",
            hint=f"Columns are video, settings, {', '.join(_PROMPT_COLUMNS)}, and settings by name, such as camera.person_height_m.",
        )
    if "video" not in columns:
        raise SettingsError(
            f"{path} has no column 'video'.", code="unknown_column", hint="It names each row's video, or a pattern of them."
        )
    files: dict[str, SettingsTree] = {}
    for row in reader:
        cells = {name: (cell or "").strip() for name, cell in row.items() if name in known}
        if not cells["video"]:
            continue
        origin = f"{path}, line {reader.line_num}"
        file = cells.get("settings", "")
        if file and file not in files:
            files[file] = _checked_yaml(path.parent / file)
        named = nest(
            {name: parse_value(cell) for name, cell in cells.items() if cell and name not in ("video", "settings", *_PROMPT_COLUMNS)}
        )
        texts = [[part.strip() for part in cells.get(name, "").split(";") if part.strip()] for name in _PROMPT_COLUMNS]
        yield VideoRow(cells["video"], origin, _merged(files.get(file, {}), named), parse_prompts(*texts))


def read_settings_rows(assignments: Sequence[str]) -> list[VideoRow]:
    """Rows of ``--settings pattern=FILE`` flags."""
    rows = []
    for assignment in assignments:
        pattern, equals, file = assignment.rpartition("=")
        if not equals or not pattern or not file:
            raise SettingsError(
                f"{assignment!r} is no pattern and settings file.",
                code="bad_assignment",
                hint="--settings takes 'pattern=FILE', such as 'golf/*=golf.yaml'.",
            )
        rows.append(VideoRow(pattern, file, _checked_yaml(Path(file))))
    return rows


def _checked_yaml(path: Path) -> SettingsTree:
    load_settings(path, None, {})
    return read_yaml(path)


def _merged(below: SettingsTree, above: SettingsTree) -> SettingsTree:
    both = {name: {**below[name], **above[name]} for name in below.keys() & above.keys() if isinstance(below[name], dict)}
    return {**below, **above, **both}


def plan_jobs(
    found: VideoList,
    out: Path,
    settings: Settings,
    rows: Sequence[VideoRow] = (),
    export: Sequence[str] = (),
    golf: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> list[VideoJob]:
    """A job for each video of the shard (its number from 1 on, and how many there are). What ``rows`` say of a video wins over
    ``settings``, which are for all; of two rows the later wins, and prompts add up.

    Raises SettingsError for a row that matches no video, or settings that contradict each other.
    """
    folders = choose_folders([found.name(video) for video in found.videos], _absolute(out))
    special = _special_rows(found, rows)
    made = {"[]": settings}
    jobs = []
    for number, video in enumerate(found.videos):
        if number % shard[1] != shard[0] - 1:
            continue
        mine = special.get(number, ())
        trees = [(row.origin, row.settings) for row in mine if row.settings]
        key = json.dumps([tree for _, tree in trees], sort_keys=True, default=str)
        if key not in made:
            for_all = ("the settings for all videos", settings.model_dump(mode="json"))
            made[key] = load_settings(None, None, {}, above=[for_all, *trees])
        prompts = tuple(prompt for row in mine for prompt in row.prompts)
        jobs.append(VideoJob(found.name(video), video, folders[number], made[key], prompts, tuple(export), golf))
    return jobs


def _special_rows(found: VideoList, rows: Sequence[VideoRow]) -> dict[int, list[VideoRow]]:
    """For the number of each video of which something special is said, the rows that say it."""
    numbers = {found.name(video): number for number, video in enumerate(found.videos)}
    special: dict[int, list[VideoRow]] = {}
    for row in found.rows:
        special.setdefault(numbers[found.name(Path(row.pattern))], []).append(row)
    for row in rows:
        exact = numbers.get(row.pattern)
        matching = [n for name, n in numbers.items() if fnmatch.fnmatchcase(name, row.pattern)] if exact is None else [exact]
        if not matching:
            raise SettingsError(
                f"No video matches {row.pattern!r} ({row.origin}).",
                code="pattern_unmatched",
                hint=f"Names are relative to {found.root}, such as {next(iter(numbers))!r}.",
            )
        for n in matching:
            special.setdefault(n, []).append(row)
    return special


def choose_folders(names: Sequence[str], out: Path, holds: Callable[[Path], str] | None = None) -> list[Path]:
    """A run folder below ``out`` for each video's relative name: its path without the ending, so that subfolders stay.

    Where that is also another video's, or a folder that holds videos, it keeps its ending (``clip.mp4/`` beside ``clip.mov/``), so that it
    does not depend on which of them was there first; a plain folder that already holds this video's run stays its own.
    """
    holds = holds or _video_in
    plain = [str(Path(name).with_suffix("")) for name in names]
    count = Counter(name.casefold() for name in plain)
    parents = {str(parent).casefold() for name in names for parent in Path(name).parents}
    chosen, taken = [], set()
    for name, folder in zip(names, plain, strict=True):
        key = folder.casefold()
        if key in parents or (count[key] > 1 and holds(out / folder) != Path(name).name) or key in taken:
            folder, number = name, 1
            while folder.casefold() in taken or folder.casefold() in parents or (count[folder.casefold()] and folder.casefold() != key):
                number += 1
                folder = f"{name}-{number}"
        taken.add(folder.casefold())
        chosen.append(out / folder)
    return chosen


def _video_in(folder: Path) -> str:
    """The file name of the video whose run a folder holds, "" where it holds none that can be read."""
    try:
        record = read_record_if_any(folder, any_schema=True)
    except InputError:
        return ""
    return "" if record is None else str(record.input.get("name", ""))


def parse_shard(text: str | None) -> tuple[int, int]:
    """``--shard i/n``: the i-th of n parts, from 1 on."""
    if text is None:
        return 1, 1
    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise SettingsError(f"{text!r} is not a shard.", code="bad_value", hint="--shard takes i/n with i from 1 to n, such as 3/8.")
