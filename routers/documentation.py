"""The pages that show the OpenAPI document; unlike FastAPI's own they ask no other host."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles

from routers.security import policy

router = APIRouter(include_in_schema=False)

_FILES = StaticFiles(directory=Path(__file__).parent / "static" / "docs")
_KEPT = {"Cache-Control": "no-cache"}  # and asked for each time: a new version shows at once
# ReDoc adds its styles through a script, which the policy lets pass, to an element that is empty,
# which it does not: the first hash is that of nothing, the second of a few lines within ReDoc.
_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='",
)
_SWAGGER_UI = policy(
    script_src="'self'", style_src="'self'", connect_src="'self'", img_src="'self' data:"
)
_REDOC = policy(
    script_src="'self'",
    style_src=" ".join(("'self'", *_STYLES)),
    connect_src="'self'",
    img_src="'self' data:",
)


@router.get("/docs")
async def swagger_ui(request: Request) -> Response:
    """Return the page on which the service can be tried out."""
    return await _file("swagger-ui.html", request, _SWAGGER_UI)


@router.get("/redoc")
async def redoc(request: Request) -> Response:
    """Return the page for reading."""
    return await _file("redoc.html", request, _REDOC)


@router.get("/docs/{name}")
async def part(name: str, request: Request) -> Response:
    """Return a script, a stylesheet or a licence; 404 if there is no such file."""
    return await _file(name, request)


async def _file(path: str, request: Request, page_policy: str | None = None) -> Response:
    """Return a file, or 304 when the browser's copy of it is still the present one."""
    response = await _FILES.get_response(path, request.scope)
    response.headers.update(_KEPT)
    if page_policy is not None:
        response.headers["Content-Security-Policy"] = page_policy
    return response
