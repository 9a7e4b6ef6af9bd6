"""A directory that refuses every row and repeats, wherever it can, what it was sent."""

import json
from typing import Any


class EchoingDirectory:
    """An ASGI app: an error with the row in its body first, then refusals with the row in words."""

    def __init__(self) -> None:
        self.rows = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status, answer = self._answer(scope, body.decode())
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    def _answer(self, scope: Any, sent: str) -> tuple[int, Any]:
        if scope["method"] == "POST":
            self.rows += 1
            row = json.loads(sent)
            words = f"{row['name']}, {row['address']}, {row['phone']} not accepted"
            return (500 if self.rows == 1 else 422), {"detail": words}
        if scope["path"] == "/":
            return 200, {"status": "ok"}
        return 404, {"detail": "No hospitals found with the specified batch ID"}
