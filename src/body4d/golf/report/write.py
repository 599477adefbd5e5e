"""Writing the report's files."""

from dataclasses import dataclass, replace
from pathlib import Path

from body4d.core.files import atomic_file
from body4d.core.stages import FrameSource
from body4d.core.types import Scene
from body4d.golf.comparison import compare
from body4d.golf.file_names import COMPARISON_PAGE_NAME, PAGE_NAME, PDF_NAME
from body4d.golf.report.page import comparison_page, report_page
from body4d.golf.report.pdf import report_pdf
from body4d.golf.report.strip import EventPicture, event_pictures
from body4d.golf.types import GolfAnalysis


@dataclass(frozen=True)
class GolfRun:
    """One clip's analysis with what its pictures are drawn from."""

    analysis: GolfAnalysis
    scene: Scene
    frames: FrameSource | None = None
    """The clip's pictures; None where the clip is no longer there, and the strip shows the body alone."""

    def with_all_warnings(self) -> GolfAnalysis:
        """The analysis with the run's own warnings too: an assumed field of view or height is an error of every length."""
        known = {warning.code for warning in self.analysis.warnings}
        more = tuple(warning for warning in self.scene.warnings if warning.code not in known)
        return replace(self.analysis, warnings=self.analysis.warnings + more)

    def pictures(self) -> tuple[EventPicture, ...]:
        """The event strip of the main swing."""
        swing = self.analysis.swings[self.analysis.main]
        return event_pictures(swing, self.analysis.person_id, self.scene, self.frames)


def write_report(
    analysis: GolfAnalysis, scene: Scene, frames: FrameSource | None, out_dir: Path, comparison: GolfRun | None = None
) -> list[Path]:
    """Write golf.html and golf.pdf about the main swing of ``analysis`` into ``out_dir``; returns their paths.

    With ``comparison``, another run, golf_comparison.html is written too. Raises InputError where the two cannot be compared, before
    anything is written, and OutputError.
    """
    run = GolfRun(analysis, scene, frames)
    analysis = run.with_all_warnings()
    pictures = run.pictures()
    pages: list[tuple[str, bytes]] = []
    if comparison is not None:
        pages.append((COMPARISON_PAGE_NAME, _comparison(run, comparison, pictures)))
    name = comparison.analysis.clip_name if comparison else ""
    pages.insert(0, (PAGE_NAME, report_page(analysis, pictures, compared_with=name).encode()))
    pages.insert(1, (PDF_NAME, report_pdf(analysis, pictures)))
    return [_write(out_dir / name, data) for name, data in pages]


def write_comparison(mine: GolfRun, other: GolfRun, out_dir: Path) -> list[Path]:
    """Write golf_comparison.html about the main swings of two runs into ``out_dir``. Raises InputError and OutputError."""
    return [_write(out_dir / COMPARISON_PAGE_NAME, _comparison(mine, other, mine.pictures()))]


def _comparison(mine: GolfRun, other: GolfRun, pictures: tuple[EventPicture, ...]) -> bytes:
    a, b = mine.with_all_warnings(), other.with_all_warnings()
    comparison = compare(a.swings[a.main], b.swings[b.main], presets=(a.preset, b.preset))
    return comparison_page(a, b, comparison, (pictures, other.pictures())).encode()


def _write(path: Path, data: bytes) -> Path:
    with atomic_file(path) as file:
        file.write(data)
    return path
