"""What the service counts about itself, as Prometheus reads it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from models.errors import Forbidden
from routers.access import identified, is_open
from routers.openapi import problems
from services.meters import Meters

router = APIRouter(tags=["System"])

_OPENMETRICS = "application/openmetrics-text"
_EXAMPLE = (
    "# HELP hospital_bulk_batches Batches that are known, by status.\n"
    "# TYPE hospital_bulk_batches gauge\n"
    'hospital_bulk_batches{status="processing"} 1.0\n'
    'hospital_bulk_batches{status="completed"} 12.0\n'
)
_RESPONSE: dict[int | str, Any] = {
    200: {
        "description": "Every metric, in the text format of Prometheus; in that of OpenMetrics "
        "where `Accept` asks for it.",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE},
            _OPENMETRICS: {"schema": {"type": "string"}, "example": _EXAMPLE + "# EOF\n"},
        },
        "headers": {"Vary": {"schema": {"type": "string", "examples": ["Accept"]}}},
    }
}


async def get_meters(request: Request) -> Meters:
    """Return what this application counts with."""
    meters: Meters = request.app.state.meters
    return meters


async def check_reader(request: Request) -> None:
    """Forbid what the metrics tell of everybody to those who do not see everything."""
    caller = identified(request.scope)
    if not is_open(request.scope) and not (caller and caller.sees_all):
        raise Forbidden


MetersDep = Annotated[Meters, Depends(get_meters)]


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    summary="What it counts about itself",
    responses=_RESPONSE | problems(Forbidden()),
    dependencies=[Depends(check_reader)],
)
async def metrics(request: Request, meters: MetersDep) -> Response:
    """Creates and their outcomes, batches, checkpoints, requests: for Prometheus.

    With API keys set it needs an admin key, unless METRICS_OPEN.
    """
    if _OPENMETRICS in request.headers.get("Accept", ""):
        content = openmetrics.generate_latest(meters.registry)  # type: ignore[no-untyped-call]
        kind = openmetrics.CONTENT_TYPE_LATEST
    else:
        content, kind = generate_latest(meters.registry), CONTENT_TYPE_PLAIN_0_0_4
    return Response(content, headers={"Content-Type": kind, "Vary": "Accept"})
