"""BlazePose's published model files, for the tests that need them; those are skipped where the files are not."""

import pytest

from body4d.config import WeightsSettings
from body4d.core.errors import WeightsError
from body4d.models.blazepose.model_files import BlazePoseModels, find_models


@pytest.fixture(scope="session")
def models() -> BlazePoseModels:
    pytest.importorskip("ai_edge_litert", reason="preset lite is not installed")
    try:
        return find_models("full", WeightsSettings())[0]
    except WeightsError:
        pytest.skip("BlazePose's model files are not on this machine: body4d weights download lite")
