"""The golf report: one self-contained page (golf.html) and two printed pages (golf.pdf), and the same for two swings side by side."""

from body4d.golf.report.write import GolfRun, write_comparison, write_report

__all__ = ["GolfRun", "write_comparison", "write_report"]
