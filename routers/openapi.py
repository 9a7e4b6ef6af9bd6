"""The OpenAPI document: what FastAPI derives, every error, and an example of each answer."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from fastapi import FastAPI

from models import api
from models.errors import (
    BulkError,
    InvalidRequest,
    Later,
    TooManyRequests,
    Unauthorized,
    UploadTooLarge,
)
from routers.access import CHALLENGE
from routers.problem import MEDIA_TYPE, problem_of
from routers.rate_limit import NOT_LIMITED

Json = dict[str, Any]

_METHODS = frozenset({"get", "put", "post", "delete", "patch"})
_OF_ANY_TEXT = frozenset({"type", "title", "description", "examples"})
_SCHEMES = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "How a key may be shown",
        "schema": {"type": "string", "const": CHALLENGE["WWW-Authenticate"]},
    }
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which to try again",
        "schema": {"type": "integer", "minimum": 1},
    }
}


def problems(*errors: BulkError) -> dict[int | str, Any]:
    """Return the `responses=` entry that documents errors in OpenAPI.

    Args:
        errors: Each as it might be raised: it becomes the example. Not needed are 413 and 429,
            which any endpoint may answer, and 422, which follows from what the endpoint takes.
    """
    by_status = sorted(errors, key=lambda error: error.status_code)
    grouped = groupby(by_status, key=lambda error: error.status_code)
    return {status: _documented(list(examples)) for status, examples in grouped}


def install(app: FastAPI) -> None:
    """Complete the document that *app* serves; with keys set it says which calls need one."""
    generate = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            document = generate()
            if app.state.keys:
                _lock(document, app.state.open_paths)
            _complete(document)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Return the method, the path and the description of every operation of *document*."""
    for path, item in document["paths"].items():
        for method in sorted(_METHODS & set(item)):
            yield method.upper(), path, item[method]


def example_path(path: str, operation: Json) -> str:
    """Return *path* with the examples of its parameters filled in."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            [value, *_] = parameter["schema"]["examples"]
            path = path.replace("{" + parameter["name"] + "}", str(value))
    return path


def _documented(errors: list[BulkError]) -> Json:
    examples = {
        error.slug: {
            "summary": error.title,
            "value": problem_of(error, "").model_dump(mode="json"),
        }
        for error in errors
    }
    description = " Or: ".join((error.__doc__ or error.title).split("\n")[0] for error in errors)
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    response: Json = {"description": description, "content": {MEDIA_TYPE: content}}
    if any(isinstance(error, Later) for error in errors):
        response["headers"] = _RETRY_AFTER
    if any(isinstance(error, Unauthorized) for error in errors):
        response["headers"] = _CHALLENGE
    return response


def _complete(document: Json) -> None:
    schemas = document["components"]["schemas"]
    shape = api.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= shape.pop("$defs", {}) | {"Problem": shape}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, schema in schemas.items():
        if "examples" in schema:  # FastAPI leaves the nulls out of them
            schema["examples"] = getattr(api, name).model_config["json_schema_extra"]["examples"]
    for _, path, operation in operations(document):
        responses = operation["responses"]
        if MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
            responses.pop("422", None)  # FastAPI's own: not the form that errors have here
        for status, response in problems(*_implied(path, operation)).items():
            _join(responses.setdefault(str(status), response), response)
        operation["responses"] = dict(sorted(responses.items()))
        _place(operation, example_path(path, operation))
        _illustrate(operation, schemas)


def _join(known: Json, implied: Json) -> None:
    """Add to the errors that an endpoint names itself those of the same status that it implies."""
    examples = known["content"][MEDIA_TYPE]["examples"]
    further = implied["content"][MEDIA_TYPE]["examples"]
    if examples.keys().isdisjoint(further):
        known["description"] += " Or: " + implied["description"]
        known["headers"] = known.get("headers", {}) | implied.get("headers", {})
        examples |= further


def _lock(document: Json, open_paths: frozenset[str]) -> None:
    """Say that operations need a key, and how it is shown."""
    document["components"]["securitySchemes"] = _SCHEMES
    for _, path, operation in operations(document):
        if path not in open_paths:
            operation["security"] = [{scheme: []} for scheme in _SCHEMES]
            operation["responses"] |= {str(s): r for s, r in problems(Unauthorized()).items()}


def _implied(path: str, operation: Json) -> list[BulkError]:
    """Return the errors that follow from where an endpoint is and what it takes."""
    implied: list[BulkError] = [UploadTooLarge(1024 * 1024)]
    if path not in NOT_LIMITED:
        implied.append(TooManyRequests())
    if "multipart/form-data" in (body := operation.get("requestBody", {}).get("content", {})):
        implied.append(InvalidRequest("Send the CSV file as the multipart form field 'file'."))
    elif body:
        implied.append(InvalidRequest("body: Input should be of the documented kind."))
    for parameter in operation.get("parameters", ()):
        if not _takes_any_text(parameter):
            name = f"{parameter['in']} {parameter['name']}"
            implied.append(InvalidRequest(f"{name}: Input should be of the documented kind."))
            break
    return implied


def _takes_any_text(parameter: Json) -> bool:
    """Return whether a parameter may be left out and nothing that is sent for it is refused."""
    kinds = parameter["schema"].get("anyOf", [parameter["schema"]])
    texts = [kind.get("items", kind) for kind in kinds]
    is_optional = parameter["in"] == "path" or not parameter["required"]
    return is_optional and all(
        text.get("type") in ("string", "null") and set(text) <= _OF_ANY_TEXT for text in texts
    )


def _place(operation: Json, path: str) -> None:
    """Say in the examples of an endpoint's errors where they happened."""
    for response in operation["responses"].values():
        examples = response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
        for example in examples.values():
            example["value"]["instance"] = path


def _illustrate(operation: Json, schemas: Json) -> None:
    """Give the answers of an endpoint the examples of their shapes."""
    for response in operation["responses"].values():
        content = response.get("content", {}).get("application/json")
        if content is not None and not {"example", "examples"} & set(content):
            schema = content["schema"]
            shape = schemas[schema.get("items", schema)["$ref"].rpartition("/")[2]]
            [example, *_] = shape["examples"]
            content["example"] = [example] if "items" in schema else example
