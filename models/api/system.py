"""The shapes of the service's own state, and of its errors."""

from typing import Annotated

from pydantic import Field

from models.api.files import RowError
from models.api.shape import Shape, example


class ApiInfo(Shape):
    """What this is and where to go on."""

    model_config = example(
        {
            "name": "Hospital Bulk Processing API",
            "version": "1.0.0",
            "status": "running",
            "links": {"docs": "/docs", "bulk": "/hospitals/bulk"},
        }
    )

    name: str
    version: str
    status: str
    links: dict[str, str]


class Health(Shape):
    """The process serves."""

    model_config = example({"status": "healthy", "version": "1.0.0"})

    status: str
    version: str


class Readiness(Shape):
    """Whether uploads are taken, and how the directory was last seen."""

    model_config = example({"status": "ready", "failing": [], "directory": "awake"})

    status: str
    failing: Annotated[list[str], Field(description="`storage`, `shutdown`; empty when ready")]
    directory: Annotated[
        str, Field(description="`awake`, `asleep` or `unreachable`; does not fail readiness")
    ]


def _is_none(value: object) -> bool:
    return value is None


class Problem(Shape):
    """An error as RFC 9457 has it."""

    type: Annotated[str, Field(description="Stable name of the kind of problem")]
    title: str
    status: int
    detail: Annotated[str, Field(description="One sentence that a person can act on")]
    instance: Annotated[str, Field(description="The path that was called")]
    # Left out when they are not of this kind of problem; a row error keeps its nulls.
    errors: Annotated[
        list[RowError] | None,
        Field(description="Of a rejected file: everything wrong with it", exclude_if=_is_none),
    ] = None
    failing: Annotated[
        list[str] | None,
        Field(description="Of a service that is not ready: what fails", exclude_if=_is_none),
    ] = None
    directory: Annotated[
        str | None,
        Field(description="Of one that is not ready: the directory's state", exclude_if=_is_none),
    ] = None
