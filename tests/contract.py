"""The OpenAPI document as a judge: whether an answer is one that it describes."""

import json
import re
from pathlib import Path
from typing import Any

from openapi_schema_validator import OAS31Validator

from routers.openapi import operations
from routers.problem import MEDIA_TYPE

Json = dict[str, Any]
ROOT = Path(__file__).parents[1]

# What no answer may hold: stack traces, paths, bodies of the directory.
INSIDE = (b"Traceback", b"site-packages", b'.py"', b"<html", str(ROOT).encode())


class Undocumented(AssertionError):
    """An answer that the document does not describe; the message says in what."""


class Contract:
    """What an OpenAPI document promises.

    Args:
        document: As the service serves it.
    """

    def __init__(self, document: Json) -> None:
        self._components = document["components"]
        found = [
            (_matcher(path), method, operation) for method, path, operation in operations(document)
        ]
        self._operations = sorted(found, key=lambda entry: "[^/]" in entry[0].pattern)

    def operation(self, method: str, path: str) -> Json | None:
        """Return the documented operation that a call reaches; a literal path goes first."""
        wanted = "GET" if method == "HEAD" else method
        for matcher, method_, operation in self._operations:
            if method_ == wanted and matcher.fullmatch(path):
                return operation
        return None

    def check(self, method: str, path: str, status: int, kind: str, body: bytes) -> None:
        """Raise Undocumented unless an answer is as the document has it.

        Every error is a problem, also where nothing is documented, and no answer shows the inside.

        Args:
            path: Without the query.
            kind: The content type.
        """
        place = f"{method} {path} answered {status}"
        media_type = kind.partition(";")[0]
        if status >= 400 and media_type != MEDIA_TYPE:
            raise Undocumented(f"{place}: an error as {media_type!r}: {body[:200]!r}")
        for inside in INSIDE:
            if inside in body and media_type != "text/html":  # the page of /docs
                raise Undocumented(f"{place}: it shows {inside!r}: {body[:200]!r}")
        operation = self.operation(method, path)
        if operation is not None and media_type.endswith("json") and body:
            self._check_documented(place, operation, status, media_type, json.loads(body))

    def _check_documented(
        self, place: str, operation: Json, status: int, media_type: str, document: Any
    ) -> None:
        described = operation["responses"].get(str(status))
        if described is None:
            raise Undocumented(f"{place}: the status is not documented: {document}")
        content = described.get("content", {}).get(media_type)
        if content is None:
            raise Undocumented(f"{place}: {media_type} is not documented")
        if media_type == MEDIA_TYPE:
            types = {example["value"]["type"] for example in content["examples"].values()}
            if document["type"] not in types:
                raise Undocumented(f"{place}: {document['type']} is not documented")
        for error in self.errors(content["schema"], document):
            raise Undocumented(f"{place}: {error}")

    def errors(self, schema: Json, document: Any) -> list[str]:
        """Return in what *document* is not as *schema* has it."""
        validator = OAS31Validator({**schema, "components": self._components})
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def _matcher(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
