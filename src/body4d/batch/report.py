"""The report of a batch: a JSON line for each video as it ends, then a CSV and one HTML page, failures first."""

import csv
import html
import io
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import quote

from filelock import SoftFileLease, Timeout

from body4d.batch.job import LEASE_S, VideoSummary
from body4d.core.errors import OutputError
from body4d.core.files import atomic_file, output_error
from body4d.run.pipeline import STAGES_BEFORE
from body4d.run.record import SHEET
from body4d.run.run_folder import make_folder

_COLUMNS = (
    "name", "state", "code", "message", "people", "frames", "fps", "frames_per_s", "seconds", "error_2d_percent_of_height", "mask_iou",
    "golf", "warnings", "attempts", "worker", "preset", "out",
)  # fmt: skip
_STAGE_COLUMNS = tuple(f"{stage}_s" for stage in STAGES_BEFORE)
_TITLES = {
    "name": "video",
    "frames_per_s": "frames/s",
    "error_2d_percent_of_height": "2D error %",
    "mask_iou": "mask IoU",
}


class BatchReport:
    """Writes ``report.jsonl`` as videos end, and ``report.csv`` and ``report.html`` when it is closed. Rows are read back from the disk, so
    that memory does not grow with their number.

    A shard's files are ``report-<i>-of-<n>``. Where another batch is writing its report into the same folder, the names of this one's files
    hold this machine's name and process.
    """

    def __init__(self, out: Path, shard: tuple[int, int] = (1, 1)) -> None:
        make_folder(out)
        stem = "report" if shard[1] == 1 else f"report-{shard[0]}-of-{shard[1]}"
        self._lease = SoftFileLease(out / f".{stem}.lock", lease_duration=LEASE_S, timeout=0)
        try:
            self._lease.acquire()
        except Timeout:
            stem = f"{stem}-{socket.gethostname()}-{os.getpid()}"
        self.rows, self.table, self.page = (out / f"{stem}.{ending}" for ending in ("jsonl", "csv", "html"))
        self.count = {"done": 0, "already done": 0, "failed": 0}
        self._file: TextIO | None = None

    def __enter__(self) -> "BatchReport":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Whatever ends the batch, what has been done is told."""
        try:
            if self._file is None and error is not None:
                return  # A batch that could not begin leaves the report of the one before as it is.
            self._opened().close()
            self._write_table()
            self._write_page()
        except OutputError:
            if error is None:  # Why the batch ended is worth more than why its report could not be written.
                raise
        finally:
            self._lease.release()

    def add(self, summary: VideoSummary) -> None:
        """Write the line of a video that has ended."""
        self.count[summary.state] += 1
        try:
            file = self._opened()
            file.write(json.dumps(summary.as_json(), ensure_ascii=False) + "\n")
            file.flush()
        except OSError as error:
            raise output_error(self.rows, error) from error

    def _opened(self) -> TextIO:
        if self._file is None:
            try:
                self._file = self.rows.open("w", encoding="utf-8")
            except OSError as error:
                raise output_error(self.rows, error) from error
        return self._file

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Failures first, otherwise as they ended."""
        for failures in (True, False):
            with self.rows.open(encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    if (row["state"] == "failed") is failures:
                        yield row

    def _write_table(self) -> None:
        with atomic_file(self.table) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            writer = csv.writer(text)
            writer.writerow([*_COLUMNS, *_STAGE_COLUMNS])
            for row in self._lines():
                stages = [row["stages"].get(stage, "") for stage in STAGES_BEFORE]
                writer.writerow([*(" ".join(v) if isinstance(v := row[name], list) else v for name in _COLUMNS), *stages])
            text.detach()

    def _write_page(self) -> None:
        with atomic_file(self.page) as file:
            titles = ["", *(_TITLES.get(name, name) for name in _COLUMNS[:-1]), *(f"{stage} s" for stage in STAGES_BEFORE)]
            head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
            summary = ", ".join(f"{number} {state}" for state, number in self.count.items())
            file.write(_HEAD.replace("{summary}", summary).replace("{head}", head).encode())
            for row in self._lines():
                file.write(self._page_row(row).encode())
            file.write(_TAIL.encode())

    def _page_row(self, row: dict[str, Any]) -> str:
        folder = quote(Path(os.path.relpath(row["out"], self.page.parent)).as_posix())
        # The browser fetches a sheet when its row comes into view.
        sheet = f'<a href="{folder}/{SHEET}"><img loading="lazy" src="{folder}/{SHEET}" alt=""></a>' if row["state"] != "failed" else ""
        cells = [_cell(row[name]) for name in _COLUMNS[:-1]]
        if row["state"] != "failed":  # Of a video that cannot be opened there is no folder.
            cells[0] = f'<td><a href="{folder}/">{html.escape(row["name"])}</a></td>'
        stages = [_cell(row["stages"].get(stage)) for stage in STAGES_BEFORE]
        return f'<tr class="{row["state"].split()[-1]}"><td>{sheet}</td>{"".join(cells)}{"".join(stages)}</tr>\n'


def _cell(value: Any) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, int | float):
        return f'<td class="n">{value:g}</td>' if isinstance(value, int) else f'<td class="n">{value:.2f}</td>'
    return f"<td>{html.escape(' '.join(value) if isinstance(value, list) else str(value))}</td>"


_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>body4d batch</title>
<style>
body { font: 14px system-ui, sans-serif; margin: 1rem; color-scheme: light dark }
div { overflow-x: auto } table { border-collapse: collapse } td { max-width: 20rem; overflow-wrap: anywhere }
td, th { padding: .3rem .6rem; border-bottom: 1px solid #8884; text-align: left; vertical-align: top }
th { cursor: pointer; white-space: nowrap } td.n { text-align: right; font-variant-numeric: tabular-nums }
tr.failed { background: #e5484d22 } img { width: 15rem; max-height: 12rem; object-fit: cover; object-position: top }
</style>
<h1>body4d batch</h1><p>{summary}. A click on a heading sorts.</p>
<div><table><thead><tr>{head}</tr></thead><tbody>
"""

_TAIL = """</tbody></table></div>
<script>
document.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
  const body = document.querySelector("tbody"), up = head.dataset.up !== "1"
  head.dataset.up = up ? "1" : ""
  const key = row => row.cells[column].textContent.trim()
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)]
    if (!x || !y) return !x - !y
    return (up ? 1 : -1) * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y)
  })
  body.append(...rows)
}))
</script></html>
"""
