"""What the files of a golf analysis are called. No other import, so that a program may know the names without drawing anything."""

JSON_NAME, CSV_NAME = "golf.json", "golf.csv"
PAGE_NAME, PDF_NAME, COMPARISON_PAGE_NAME = "golf.html", "golf.pdf", "golf_comparison.html"
TRACE_NAME = "golf_trace.mp4"

RUN_FILES = (PAGE_NAME, PDF_NAME, TRACE_NAME, CSV_NAME, JSON_NAME)
"""What one run's analysis may write, in the order in which people ask for it."""
