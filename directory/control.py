"""The control endpoints under `/_directory`, for tests and demos.

They bypass limits, faults and places, and have no counterpart in the real directory.
"""

import asyncio
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from directory.calls import Endpoint
from directory.desk import Desk
from directory.faults import FaultKind, FaultRule
from directory.operations import timestamp
from directory.store import Hospital

PREFIX = "/_directory"


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RestartOrder(_Order):
    """How long a restart takes."""

    down_seconds: float = Field(default=0.0, ge=0)


class SleepOrder(_Order):
    """How the directory wakes; without a status, requests wait for it."""

    wake_seconds: float = Field(default=3.0, ge=0)
    status: Literal[502, 503] | None = None


class HospitalOrder(_Order):
    """A row as it is to stand; *active* defaults to what a create would set."""

    name: str | None
    address: str | None
    phone: str | None = None
    creation_batch_id: UUID | None = None
    active: bool | None = None


class StatsView(BaseModel):
    """The numbers of `directory.stats.Stats`."""

    model_config = ConfigDict(from_attributes=True)

    requests: dict[Endpoint, int]
    refused: dict[Endpoint, int]
    faulted: dict[FaultKind, int]
    max_in_flight: int
    creates_in_flight: int
    committed: int
    create_times: list[float]


def control_app(desk: Desk) -> FastAPI:
    """Return the app that serves the control endpoints of *desk*."""
    app = FastAPI(
        title="Local Hospital Directory: control (not for production)",
        docs_url=f"{PREFIX}/docs",
        openapi_url=f"{PREFIX}/openapi.json",
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (_faults(desk), _life(desk), _stats(desk), _hospitals(desk)):
        app.include_router(router, prefix=PREFIX)
    return app


def _faults(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.get("/faults")
    async def list_faults() -> list[FaultRule]:
        return desk.faults.rules

    @router.put("/faults")
    async def replace_faults(rules: list[FaultRule]) -> list[FaultRule]:
        desk.faults.replace(rules)
        return desk.faults.rules

    @router.delete("/faults", status_code=204)
    async def remove_faults() -> None:
        desk.faults.replace([])

    return router


def _life(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.post("/restart", status_code=204)
    async def restart(order: RestartOrder | None = None) -> None:
        desk.restart((order or RestartOrder()).down_seconds)

    @router.post("/sleep", status_code=204)
    async def sleep(order: SleepOrder | None = None) -> None:
        order = order or SleepOrder()
        now_s = asyncio.get_running_loop().time()
        desk.gate.fall_asleep(order.wake_seconds, order.status, now_s)

    return router


def _stats(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.get("/stats")
    async def show_stats() -> StatsView:
        return StatsView.model_validate(desk.stats)

    @router.delete("/stats", status_code=204)
    async def reset_stats() -> None:
        desk.stats.reset()

    return router


def _hospitals(desk: Desk) -> APIRouter:
    router = APIRouter()

    @router.get("/hospitals", response_model=None)
    async def list_hospitals() -> list[Hospital]:
        return desk.store.all()

    @router.post("/hospitals", status_code=201, response_model=None)
    async def insert_hospital(order: HospitalOrder) -> Hospital:
        batch_id = None if order.creation_batch_id is None else str(order.creation_batch_id)
        fields = {"name": order.name, "address": order.address, "phone": order.phone}
        row = desk.store.draft(fields, batch_id, timestamp())
        if order.active is not None:
            row["active"] = order.active
        desk.store.add(row)
        return row

    return router
