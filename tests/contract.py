"""The OpenAPI document as a judge: whether an answer is one that it describes."""

import re
from typing import Any

from openapi_schema_validator import OAS31Validator

from routers.openapi import operations
from routers.problem import MEDIA_TYPE

Json = dict[str, Any]


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

    def check(self, method: str, path: str, status: int, kind: str, document: Any) -> None:
        """Raise Undocumented unless the answer is as documented.

        Args:
            kind: The content type.
            document: The body, read as JSON.
        """
        operation = self.operation(method, path)
        if operation is None:
            return
        place = f"{method} {path} answered {status}"
        described = operation["responses"].get(str(status))
        if described is None:
            raise Undocumented(f"{place}: the status is not documented: {document}")
        media_type = kind.partition(";")[0]
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
