"""The OpenAPI document: valid, complete, and with an example of every answer."""

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from openapi_spec_validator import OpenAPIV31SpecValidator

import routers
from config import Settings
from main import create_app
from models import errors
from models.errors import (
    BatchConflict,
    BatchNotFound,
    BulkError,
    DirectoryUnreachable,
    FileRejected,
    Forbidden,
    FormUnreadable,
    InvalidRequest,
    KeyReused,
    NotCsv,
    QueueFull,
    RowNotFound,
    RowRejected,
    ShuttingDown,
    StorageUnavailable,
    TooManyBatches,
    TooManyRequests,
    Unauthorized,
    UploadNotKept,
    UploadStalled,
    UploadTooLarge,
    UploadTooSlow,
)
from routers import (
    accept,
    access,
    dependencies,
    event_stream,
    metrics,
    progress_document,
    reports,
)
from routers.openapi import example_path, operations
from routers.problem import MEDIA_TYPE, TYPE_PREFIX
from services.batch_service import BatchService
from tests.contract import Contract

KEYS = "admin:an admin's secret,north:the secret of north".replace(" ", "-")
DOCUMENT = create_app(Settings(_env_file=None, api_keys=KEYS)).openapi()
OPERATIONS = [
    pytest.param(path, operation, id=f"{method} {path}")
    for method, path, operation in operations(DOCUMENT)
]
ANSWERS = [
    pytest.param(path, operation, status, id=f"{method} {path} {status}")
    for method, path, operation in operations(DOCUMENT)
    for status in operation["responses"]
]
KINDS = {
    TYPE_PREFIX + kind.slug: kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, BulkError)
}

# What an endpoint may answer because of what it asks for. Whoever adds a dependency or a method of
# the service says here what it may raise; then every endpoint that uses it has to document that.
OF_DEPENDENCIES: dict[Callable[..., Any], set[type[BulkError]]] = {
    dependencies.get_service: set(),
    dependencies.get_settings: set(),
    event_stream.get_feeds: set(),
    progress_document.get_pages: set(),
    metrics.get_meters: set(),
    metrics.check_reader: {Forbidden},
    access.get_caller: set(),  # who shows no key does not come so far
    dependencies.get_batch_id: {BatchNotFound, StorageUnavailable},
    dependencies.get_upload: {
        FormUnreadable,
        UploadStalled,
        UploadTooSlow,
        UploadTooLarge,
        UploadNotKept,
        NotCsv,
        InvalidRequest,
        ShuttingDown,
    },
    dependencies.get_idempotency_key: {InvalidRequest},
    dependencies.wants_async: set(),
    accept.wants_page: set(),
    reports.get_place: {InvalidRequest},
}
OF_METHODS: dict[str, set[type[BulkError]]] = {
    "get": {BatchNotFound},
    "refresh_all": set(),
    "loading_s": set(),
    "page": set(),
    "resumable": set(),
    "validate": set(),
    "submit": {
        FileRejected,
        KeyReused,
        TooManyBatches,
        StorageUnavailable,
        QueueFull,
        ShuttingDown,
    },
    "resume": {
        BatchNotFound,
        BatchConflict,
        TooManyBatches,
        StorageUnavailable,
        QueueFull,
        ShuttingDown,
    },
    "wait": set(),
    "outlook": set(),
    "cancel": {BatchNotFound, BatchConflict, StorageUnavailable},
    "correct": {BatchNotFound, RowNotFound, BatchConflict, RowRejected, StorageUnavailable},
    "abandon": {
        BatchNotFound,
        BatchConflict,
        DirectoryUnreachable,
        StorageUnavailable,
        ShuttingDown,
    },
    "verify": {BatchNotFound, BatchConflict, DirectoryUnreachable, ShuttingDown},
    "cleanup": {ShuttingDown},
    "is_storage_writable": set(),
    "directory_state": set(),
    "is_stopping": set(),
}


def routes() -> Iterator[APIRoute]:
    """Return every documented route of every router, as it is in the code."""
    for module in pkgutil.iter_modules(routers.__path__, "routers."):
        router = getattr(importlib.import_module(module.name), "router", None)
        if router is not None:
            found = (route for route in router.routes if isinstance(route, APIRoute))
            yield from (route for route in found if route.include_in_schema)


def methods_called(endpoint: Callable[..., Any]) -> set[str]:
    """Return the names that an endpoint uses of the service."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(endpoint)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "service"
    }


def examples(content: dict[str, Any]) -> list[Any]:
    """Return the examples of an answer's content."""
    if "example" in content:
        return [content["example"]]
    return [example["value"] for example in content.get("examples", {}).values()]


def documented(operation: dict[str, Any]) -> set[type[BulkError]]:
    """Return the kinds of errors that an operation has examples of."""
    return {
        KINDS[example["type"]]
        for response in operation["responses"].values()
        for example in examples(response.get("content", {}).get(MEDIA_TYPE, {}))
    }


def test_the_document_is_valid_openapi_3_1():
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


@pytest.mark.parametrize(("path", "operation", "status"), ANSWERS)
def test_every_answer_has_an_example_that_fits_its_schema(
    path: str, operation: dict[str, Any], status: str
):
    contract = Contract(DOCUMENT)

    for media_type, content in operation["responses"][status].get("content", {}).items():
        assert examples(content), f"{media_type} has no example"
        for example in examples(content):
            assert contract.errors(content.get("schema", {}), example) == []


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_every_error_is_a_problem_of_its_own_kind_at_its_own_address(
    path: str, operation: dict[str, Any]
):
    for status, response in operation["responses"].items():
        if status < "400":
            continue
        assert set(response["content"]) == {MEDIA_TYPE}
        for example in examples(response["content"][MEDIA_TYPE]):
            kind = KINDS[example["type"]]
            assert example["title"] == kind.title
            assert example["status"] == kind.status_code == int(status)
            assert example["instance"] == example_path(path, operation)
            assert "{" not in example["instance"]
            assert example["detail"].endswith((".", "'."))


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_what_is_worth_another_try_says_when(path: str, operation: dict[str, Any]):
    for status, response in operation["responses"].items():
        assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503"))


@pytest.mark.parametrize("route", list(routes()), ids=lambda route: f"{route.methods} {route.path}")
def test_an_endpoint_documents_every_error_that_what_it_uses_may_raise(route: APIRoute):
    assert route.methods is not None
    [method] = route.methods
    operation = DOCUMENT["paths"][route.path][method.lower()]
    used = {dependency.call for dependency in route.dependant.dependencies}
    called = methods_called(route.endpoint)
    possible: set[type[BulkError]] = set()

    for dependency in used:
        assert dependency in OF_DEPENDENCIES, "say in OF_DEPENDENCIES what it may raise"
        possible |= OF_DEPENDENCIES[dependency]
    for name in called:
        assert name in OF_METHODS, "say in OF_METHODS what it may raise"
        possible |= OF_METHODS[name]

    assert {kind.slug for kind in possible - documented(operation)} == set()


def test_the_methods_named_here_are_the_services():
    assert [name for name in OF_METHODS if not hasattr(BatchService, name)] == []


def test_every_kind_of_error_is_documented_somewhere():
    abstract = {kind for kind in KINDS.values() if kind.__subclasses__()}
    told = set().union(*(documented(operation) for _, _, operation in operations(DOCUMENT)))

    assert {kind.slug for kind in set(KINDS.values()) - abstract - told} == set()


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_the_rate_limit_is_told_wherever_it_is_met(path: str, operation: dict[str, Any]):
    is_limited = path not in {"/health", "/health/ready"}

    assert (TooManyRequests in documented(operation)) == is_limited
    if is_limited:
        assert "Retry-After" in operation["responses"]["429"]["headers"]


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_what_needs_a_key_says_so_and_nothing_else_does(path: str, operation: dict[str, Any]):
    is_open = path in {"/", "/health", "/health/ready"}

    assert ("security" in operation) == (Unauthorized in documented(operation)) == (not is_open)


def test_the_document_of_a_service_without_keys_asks_for_none():
    document = create_app(Settings(_env_file=None)).openapi()

    assert "securitySchemes" not in document["components"]
    assert not any("security" in operation for _, _, operation in operations(document))
    assert not any("401" in operation["responses"] for _, _, operation in operations(document))


def test_open_metrics_ask_for_no_key():
    settings = Settings(_env_file=None, api_keys=KEYS, metrics_open=True)
    document = create_app(settings).openapi()

    assert "security" not in document["paths"]["/metrics"]["get"]
    assert "security" in document["paths"]["/hospitals/batches"]["get"]


def test_every_answer_that_starts_a_batch_says_where_to_follow_it():
    for path in ("/hospitals/bulk", "/hospitals/resume/{batch_id}"):
        responses = DOCUMENT["paths"][path]["post"]["responses"]
        assert all("Location" in responses[status]["headers"] for status in ("200", "202"))
