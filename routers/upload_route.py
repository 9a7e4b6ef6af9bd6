"""What is particular to the endpoints that take a file."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from models.errors import UploadNotKept
from services.logs import get_logger

logger = get_logger(__name__)

# One file: of several all but one would be lost in silence. Other fields are not read, and even
# their decoding takes memory and time: 1 MiB of `%41` needs 75 MiB.
FORM_LIMITS: Any = {"max_files": 1, "max_fields": 20, "max_part_size": 4096}


class UploadRoute(APIRoute):
    """Tells a form that cannot be kept, which is this machine's fault, from one that is broken.

    A form above 1 MiB goes to a temporary file, and the framework calls any failure to read a form
    its sender's.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:
                if isinstance(error.__cause__, OSError):
                    logger.error("an upload could not be kept", error=error.__cause__.strerror)
                    raise UploadNotKept from error
                raise

        return handled
