"""What a client would rather have at an address that has both: a page or JSON."""

import re
from typing import Annotated

from fastapi import Depends, Request


async def wants_page(request: Request) -> bool:
    """Read whether HTML is preferred to JSON (RFC 9110, 12.5.1): browsers do, curl does not."""
    ranges = ",".join(request.headers.getlist("accept")).lower().split(",")
    weights = dict(_weighed(media_range) for media_range in ranges)

    def weight(*from_closest: str) -> float:
        return next((weights[name] for name in from_closest if name in weights), 0.0)

    html = weight("text/html", "text/*", "*/*")
    return html > weight("application/json", "application/*", "*/*")


PageDep = Annotated[bool, Depends(wants_page)]


def _weighed(media_range: str) -> tuple[str, float]:
    """Return one media range of an Accept header and how much it is wanted, 0 to 1."""
    name, _, parameters = media_range.partition(";")
    weight = re.search(r"\bq=([01](?:\.[0-9]*)?)", parameters)
    return name.strip(), float(weight[1]) if weight else 1.0
