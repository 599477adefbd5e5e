"""BlazePose's published model files, for the tests that need them."""

import pytest

from body4d.config import WeightsSettings
from body4d.models.blazepose.model_files import BlazePoseModels, find_models


@pytest.fixture(scope="session")
def models(lite_models: BlazePoseModels) -> BlazePoseModels:
    """With the full landmark model, of which the goldens are."""
    return find_models("full", WeightsSettings())[0]
