"""What every test may use: the helpers beside this file, and the real clips where the machine has them."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# No test judges time, Hypothesis's own deadlines included: a busy machine is no fault.
# The same examples every time on the machine that decides whether a change goes in; new ones at a developer's desk.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

# Shapes in the signatures of these rooms are checked on every call; rooms that compile loops with numba cannot be, and core.types
# checks what it is made of with messages of its own.
install_import_hook(["body4d.geometry", "body4d.motion"], "beartype.beartype")

# The importlib import mode leaves sys.path alone, so the shared helpers (scenes.py, ...) are made importable here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real clips (``videos/golf_swing.mp4``, ...), told by the environment variable BODY4D_SHARED."""
    folder = os.environ.get("BODY4D_SHARED")
    if not folder:
        pytest.skip("BODY4D_SHARED is not set: the real clips are not on this machine")
    return Path(folder)
