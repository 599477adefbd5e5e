"""What every section of the settings is."""

from typing import Any

from pydantic import BaseModel, ConfigDict

SPEED_ONLY: dict[str, Any] = {"affects_result": False}
"""``Field(json_schema_extra=SPEED_ONLY)`` marks a setting that changes how fast a result is made and never the result."""


class Section(BaseModel):
    """One group of settings: read-only, and unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def cache_inputs(self) -> dict[str, Any]:
        """The settings of this section on which a result depends, as JSON values: all but those marked ``SPEED_ONLY``."""
        speed_only = {name for name, field in type(self).model_fields.items() if field.json_schema_extra == SPEED_ONLY}
        return self.model_dump(mode="json", exclude=speed_only)
