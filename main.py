"""The application: settings in, routes and middlewares together, `app` out."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from fastapi import FastAPI

from config import BadSetting, Settings, load_settings
from connections import guarded_connections
from lifecycle import CannotStart, PlainStartFailure, stopped_by_signals
from routers import (
    access,
    batches,
    bulk,
    dashboard,
    documentation,
    metrics,
    middleware,
    openapi,
    problem,
    progress,
    reports,
    system,
)
from routers.event_stream import Feeds
from routers.progress_document import FirstPages
from services.logs import configure, get_logger, is_served
from services.meters import Meters
from wiring import running_service

logger = get_logger("hospital_bulk")

MIN_UPLOAD_BYTES = 1024 * 1024
BYTES_A_ROW = 1024  # a long row in a script of three bytes a letter


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; BadSetting if a setting cannot be right."""
    settings = settings or load_settings()
    app = FastAPI(
        title=settings.app_name,
        version=settings.app_version,
        summary="Loads CSV files of hospitals into the Hospital Directory: each row, once, active.",
        description=DESCRIPTION,
        lifespan=_lifespan,
        redirect_slashes=False,  # routers/addresses.py does it
        docs_url=None,  # routers/documentation.py has both pages
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.keys = settings.keys
    app.state.open_paths = access.open_paths(settings)
    app.state.max_upload_bytes = settings.max_upload_bytes or max(
        MIN_UPLOAD_BYTES, settings.max_csv_size * BYTES_A_ROW
    )
    app.state.large_file_turn = asyncio.Lock()
    app.state.feeds = Feeds()
    app.state.pages = FirstPages()
    app.state.meters = Meters(settings.app_version)
    app.state.meters.show_event_streams(lambda: app.state.feeds.watchers)
    problem.install(app)
    # In the order in which addresses are compared with them: that which is asked most comes first.
    parts = (progress, system, metrics, bulk, reports, batches, dashboard, documentation)
    for part in parts:
        app.include_router(part.router)
    middleware.install(app, settings)
    app.add_middleware(PlainStartFailure)
    openapi.install(app)
    return app


DESCRIPTION = """
Upload a CSV file; every row is created in the directory concurrently, then all are activated
together. **When a batch says `completed`, the directory holds the file's rows: each one, once,
active**, whatever failed on the way. A batch that could not be completed says why; resume it, or
abandon it and its hospitals are deleted.
"""


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    configure(settings.log_level, settings.log_format)
    _tell_who_may_call(settings)
    try:
        async with running_service(settings, app.state.meters) as service:
            app.state.service = service
            async with guarded_connections(
                settings.header_timeout_seconds, settings.body_timeout_seconds
            ):
                with stopped_by_signals(service, settings.shutdown_grace_seconds):
                    yield
    except CannotStart as failure:
        app.state.start_failure = str(failure)
        raise


def _tell_who_may_call(settings: Settings) -> None:
    names = {key.name for key in settings.keys}
    if names:
        logger.info("whoever calls needs a key", names=len(names))
    else:
        logger.warning("open: anybody may call; set API_KEYS")


def _app() -> FastAPI:
    try:
        settings = load_settings()
        if is_served():  # what the server tells before the lifespan has the form of all else
            configure(settings.log_level, settings.log_format)
        return create_app(settings)
    except BadSetting as error:
        sys.exit(f"Cannot start: {error}")


app = _app()
