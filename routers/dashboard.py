"""The dashboard: a page for people, and its files. What it shows it asks of the other endpoints."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles

from routers.security import policy

router = APIRouter(include_in_schema=False)

_FILES = StaticFiles(directory=Path(__file__).parent / "static")

# Scripts, styles and calls of this service alone. `data:` is for the icons in Pico's stylesheet.
# No string becomes markup: with trusted types the browser itself refuses innerHTML.
_HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked for each time: a new version shows at once
    "Content-Security-Policy": policy(
        script_src="'self'",
        style_src="'self'",
        connect_src="'self'",
        img_src="'self' data:",
        require_trusted_types_for="'script'",
        trusted_types="'none'",
    ),
}


@router.get("/dashboard")
async def page(request: Request) -> Response:
    """Return the page."""
    return await _file("dashboard.html", request)


@router.get("/dashboard/{name}")
async def part(name: str, request: Request) -> Response:
    """Return a script, a stylesheet or the icon; 404 if there is no such file."""
    return await _file(f"dashboard/{name}", request)


async def _file(path: str, request: Request) -> Response:
    """Return a file, or 304 when the browser's copy of it is still the present one."""
    response = await _FILES.get_response(path, request.scope)
    response.headers.update(_HEADERS)
    return response
