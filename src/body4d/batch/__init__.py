"""Many videos: what to do, the workers that do it, and the report."""
