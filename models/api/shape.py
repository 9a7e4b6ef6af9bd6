"""What every shape on the wire has in common."""

from typing import Any

from pydantic import BaseModel, ConfigDict

EXAMPLE_ID = "0b6a9c1e-6a3f-4c5e-9d56-0f0f6f1c2a11"


class Shape(BaseModel):
    """Base of the shapes: nothing changes them."""

    model_config = ConfigDict(frozen=True)


def example(value: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a shape that looks like *value*."""
    return ConfigDict(frozen=True, json_schema_extra={"examples": [value]})
