"""What this is, and whether it is well."""

from fastapi import APIRouter, Response

from models.api import ApiInfo, Health, Readiness
from models.errors import NotReady
from routers.accept import PageDep
from routers.dependencies import ServiceDep, SettingsDep, reply
from routers.openapi import problems

router = APIRouter(tags=["System"])


_BY_ACCEPT = {"Vary": "Accept"}


@router.get(
    "/",
    response_model=ApiInfo,
    summary="What this is",
    responses={307: {"description": "A browser, which asks for HTML, is sent to the dashboard"}},
)
async def info(wants_page: PageDep, settings: SettingsDep) -> Response:
    """Name, version, and where to go on."""
    if wants_page:
        return Response(status_code=307, headers={"Location": "/dashboard"} | _BY_ACCEPT)
    about = ApiInfo(
        name=settings.app_name,
        version=settings.app_version,
        status="running",
        links={
            "dashboard": "/dashboard",
            "docs": "/docs",
            "redoc": "/redoc",
            "openapi": "/openapi.json",
            "health": "/health",
            "ready": "/health/ready",
            "metrics": "/metrics",
            "bulk": "/hospitals/bulk",
            "validate": "/hospitals/validate",
            "progress": "/hospitals/progress/{batch_id}",
            "batches": "/hospitals/batches",
            "resumable": "/hospitals/resumable",
        },
    )
    return reply(about, headers=_BY_ACCEPT)


@router.get("/health", summary="Whether the process serves")
async def health(settings: SettingsDep) -> Health:
    """Healthy as long as it answers."""
    return Health(status="healthy", version=settings.app_version)


@router.get(
    "/health/ready",
    response_model=Readiness,
    summary="Whether uploads are taken",
    responses=problems(NotReady(["storage"], "awake")),
)
async def ready(service: ServiceDep) -> Response:
    """Ready when the storage can be written and the service is not stopping.

    The directory's state is told, but does not fail it: batches wait for the directory.
    """
    failing = [] if await service.is_storage_writable() else ["storage"]
    if service.is_stopping:
        failing.append("shutdown")
    directory = await service.directory_state()
    if failing:
        raise NotReady(failing, directory)
    return reply(Readiness(status="ready", failing=[], directory=directory))
