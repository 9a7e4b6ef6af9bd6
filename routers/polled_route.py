"""What is particular to the endpoint that clients poll."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from routers.access import get_caller
from routers.dependencies import get_batch_id, get_service


class PolledRoute(APIRoute):
    """Looks by itself for what a call without a query needs: the batch's id and the service.

    The framework takes 75 us to find them, which would be a third of the whole answer. What the
    endpoint takes beside these two has a default.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            if request.scope["query_string"]:
                return await handle(request)
            service = await get_service(request)
            caller = await get_caller(request)
            batch_id = await get_batch_id(request.path_params["batch_id"], caller, service)
            response: Response = await self.endpoint(batch_id, service)
            return response

        return handled
