"""What every request goes through on its way to an endpoint, and its answer on the way back."""

from fastapi import FastAPI

from config import Settings
from routers.access import Access, identified
from routers.addresses import HeadLikeGet
from routers.rate_limit import RateLimit
from routers.request_id import RequestId
from routers.request_meters import RequestMeters
from routers.security import CROSS_ORIGIN, CrossOrigin, SecurityHeaders, TrustedHosts
from routers.upload_limit import UploadLimit


def install(app: FastAPI, settings: Settings) -> None:
    """Put everything before *app*, from the innermost to the outermost.

    Whoever is refused is so before the body is read, by the outermost that has a reason. What
    refuses stands inside of what counts and tells of it, and that inside of what all answers need.
    """
    app.add_middleware(
        UploadLimit,
        max_bytes=app.state.max_upload_bytes,
        stall_s=settings.body_stall_seconds,
        timeout_s=settings.body_timeout_seconds,
    )
    app.add_middleware(HeadLikeGet)
    app.add_middleware(Access)
    app.add_middleware(
        RateLimit, per_second=settings.max_requests_per_second, identified=identified
    )
    if settings.trusted_hosts:
        app.add_middleware(TrustedHosts, names=settings.trusted_hosts)
    if settings.cors_origins:  # it answers preflights itself: those show no key
        app.add_middleware(CrossOrigin, allow_origins=settings.cors_origins, **CROSS_ORIGIN)
    app.add_middleware(RequestMeters, routes=app.routes, meters=app.state.meters)
    app.add_middleware(RequestId)
    app.add_middleware(SecurityHeaders)
