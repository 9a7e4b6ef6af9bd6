"""The HTTP contract, as a client sees it: the real service on a real socket."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from scripts.processes import Server
from tests.e2e.conftest import QUICK, http, start_on, upload, wait_until
from tests.harness import csv_file

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def service(
    store: str | None, directories: list[Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    settings: dict[str, Any] = QUICK | {"max_upload_bytes": 100_000, "max_csv_size": 50}
    folder = tmp_path_factory.mktemp("contract")
    service = start_on(store, folder, directories[-1].url, **settings)
    yield service
    service.kill()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check the form that every error has, and return it."""
    document: dict[str, Any] = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    assert document["status"] == status
    assert document["instance"] == answer.request.url.path
    assert document["type"]
    assert document["title"]
    assert document["detail"].endswith((".", "'."))
    assert "Traceback" not in answer.text
    return document


def post(service: Server, path: str, name: str, content: bytes, kind: str) -> httpx.Response:
    return http.post(service.url + path, files={"file": (name, content, kind)})


def test_the_first_page_says_where_to_go_on(service: Server):
    info = http.get(f"{service.url}/").json()

    assert info["name"] == "Hospital Bulk Processing API"
    assert info["version"]
    assert info["status"] == "running"
    for name in ("docs", "redoc", "openapi", "health", "ready", "resumable"):
        assert http.get(service.url + info["links"][name]).status_code == 200


def test_health_and_readiness(service: Server):
    assert http.get(f"{service.url}/health").json()["status"] == "healthy"
    ready = http.get(f"{service.url}/health/ready").json()
    assert ready == {"status": "ready", "failing": [], "directory": "awake"}


def test_respond_async_answers_at_once_and_the_location_leads_to_the_end(service: Server):
    answer = upload(service, csv_file(3), Prefer="wait=10, respond-async")

    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    document = answer.json()
    assert document["is_completed"] is False
    assert document["total_hospitals"] == 3
    location = service.url + answer.headers["Location"]
    ended = wait_until(lambda: (p := http.get(location).json())["is_completed"] and p)
    assert ended["status"] == "completed", ended["failure_reason"]
    assert ended["progress_percentage"] == 100
    assert ended["batch_activated"] is True
    assert set(ended) == {
        "batch_id",
        "status",
        "failure_reason",
        "total_hospitals",
        "processed_hospitals",
        "failed_hospitals",
        "progress_percentage",
        "processing_time_seconds",
        "current_step",
        "eta_seconds",
        "offset",
        "selected_hospitals",
        "batch_activated",
        "is_completed",
        "resume_count",
        "file_name",
        "owner",
        "created_at",
        "updated_at",
        "hospitals",
    }
    assert set(ended["hospitals"][0]) == {
        "row",
        "name",
        "status",
        "hospital_id",
        "error_message",
        "processing_time",
        "to_correct",
    }


def test_a_file_with_errors_is_refused_with_every_finding(service: Server):
    content = "name,address,phone\nX,Street 1 here,n/a\nFine Hospital,Street 2 here,\n"

    document = problem(upload(service, content), 400)

    assert [(e["row"], e["line"], e["column"]) for e in document["errors"]] == [
        (1, 2, "name"),
        (1, 2, "phone"),
    ]
    assert document["errors"][1]["value"] == "n/a"
    assert document["errors"][1]["error_type"] == "invalid_phone"
    assert document["errors"][1]["message"]


def test_a_finding_about_the_whole_file_has_all_its_fields(service: Server):
    document = problem(upload(service, ""), 400)

    assert document["errors"][0]["row"] == 0
    assert set(document["errors"][0]) == {"row", "line", "column", "value", "error_type", "message"}


def test_validation_tells_the_same_and_stores_nothing(service: Server):
    content = b"name;address;extra\nX;Street 1 here;1\nFine Hospital;Street 2 here;2\n"

    answer = post(service, "/hospitals/validate", "x.csv", content, "text/csv")

    result = answer.json()
    assert answer.status_code == 200
    assert not result["is_valid"]
    assert (result["total_rows"], result["valid_rows"], result["invalid_rows"]) == (2, 1, 1)
    assert [e["row"] for e in result["errors"]] == [1]
    assert result["preview_hospitals"] == [
        {"row": 2, "name": "Fine Hospital", "address": "Street 2 here", "phone": None}
    ]
    assert "extra" in result["warnings"][0]
    assert result["file_info"] == {
        "size_bytes": len(content),
        "encoding": "utf-8",
        "delimiter": ";",
        "has_header": True,
    }


def test_bulk_and_validation_refuse_above_the_setting(service: Server):
    assert problem(upload(service, csv_file(51)), 400)["errors"][0]["row"] == 0
    content = csv_file(51).encode()

    result = post(service, "/hospitals/validate", "x.csv", content, "text/csv").json()

    assert result["total_rows"] == 51
    assert result["errors"][0]["error_type"] == "too_many_rows"


@pytest.mark.parametrize("path", ["/hospitals/bulk", "/hospitals/validate"])
class TestBothUploads:
    @pytest.mark.parametrize("name", ["hospitals.xlsx", "hospitals", "csv"])
    def test_what_is_no_csv_by_name_or_type_is_415(self, service: Server, path: str, name: str):
        problem(post(service, path, name, b"a", "application/octet-stream"), 415)

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("HOSPITALS.CSV", "application/octet-stream"), ("export", "text/csv; charset=utf-8")],
    )
    def test_csv_by_name_or_by_type_is_enough(
        self, service: Server, path: str, name: str, kind: str
    ):
        answer = post(service, path, name, b"name,address\n", kind)

        assert answer.status_code in (200, 400)

    def test_no_file_part_is_422(self, service: Server, path: str):
        for kwargs in (
            {},
            {"data": {"file": "text"}},
            {"files": {"other": ("x.csv", b"a", "text/csv")}},
            {"content": b"name,address\n", "headers": {"Content-Type": "text/csv"}},
        ):
            document = problem(http.post(service.url + path, **kwargs), 422)
            assert "'file'" in document["detail"]

    def test_a_file_above_the_limit_is_413(self, service: Server, path: str):
        document = problem(post(service, path, "x.csv", b"x" * 100_001, "text/csv"), 413)

        assert "100000 bytes" in document["detail"]

    def test_a_body_far_above_the_limit_is_413_before_it_is_sent(self, service: Server, path: str):
        with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as raw:
            raw.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
                "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
            )
            head, _, body = raw.makefile("rb").read().partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 413 ")
        assert PROBLEM.encode() in head
        assert json.loads(body)["status"] == 413

    def test_a_body_that_grows_beyond_the_limit_is_413_while_it_is_read(
        self, service: Server, path: str
    ):
        start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\n'
        sent = 0

        def endless() -> Iterator[bytes]:
            nonlocal sent
            yield start
            while sent < 50_000_000:
                sent += 10_000
                yield b"x" * 10_000

        with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as raw:
            raw.settimeout(10)
            raw.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
            )
            for piece in endless():
                try:
                    raw.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                except OSError:
                    break
            try:
                answer = raw.makefile("rb").read()
            except OSError:
                answer = b""  # reset, since it sent on after the refusal

        assert sent < 50_000_000
        assert answer[:13] in (b"", b"HTTP/1.1 413 ")

    def test_a_broken_form_is_a_client_error(self, service: Server, path: str):
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = http.post(service.url + path, content=b"--b\r\nnonsense", headers=headers)

        problem(answer, answer.status_code)
        assert answer.status_code in (400, 422)


def test_unknown_batches_and_what_is_no_id_are_404(service: Server):
    for batch_id in (uuid4(), "no-uuid", "..%2f..%2fetc%2fpasswd"):
        problem(http.get(f"{service.url}/hospitals/progress/{batch_id}"), 404)
        problem(http.post(f"{service.url}/hospitals/resume/{batch_id}"), 404)
        problem(http.delete(f"{service.url}/hospitals/batch/{batch_id}/abandon"), 404)


def test_the_frameworks_own_errors_have_the_same_form(service: Server):
    problem(http.get(f"{service.url}/nowhere"), 404)
    answer = http.get(f"{service.url}/hospitals/bulk")
    problem(answer, 405)
    assert answer.headers["Allow"] == "POST"


def test_every_method_that_an_address_takes_is_allowed(service: Server):
    answer = http.request("PUT", f"{service.url}/hospitals/progress/cleanup")

    problem(answer, 405)
    assert answer.headers["Allow"] == "GET, HEAD, POST"  # GET: progress of what is no batch


def test_head_is_answered_as_get_without_the_body(service: Server):
    for path in ("/", "/health", "/health/ready", "/hospitals/resumable", "/docs"):
        answer = http.head(service.url + path)
        assert answer.status_code == 200
        assert answer.content == b""
        assert (
            answer.headers["Content-Type"] == http.get(service.url + path).headers["Content-Type"]
        )
    assert http.head(f"{service.url}/hospitals/progress/{uuid4()}").status_code == 404
    assert http.head(f"{service.url}/hospitals/bulk").headers["Allow"] == "POST"


def test_a_slash_too_many_leads_to_the_address_that_was_meant(service: Server):
    for method, path in (("GET", "/health/?x=1"), ("POST", "/hospitals/bulk/")):
        answer = http.request(method, service.url + path)
        assert answer.status_code == 307
        # Without the host: behind a proxy that ends TLS it would be of the wrong scheme.
        assert answer.headers["Location"] == path.replace("/?", "?").rstrip("/")
    problem(http.get(f"{service.url}//evil.example/"), 404)


def test_several_prefer_headers_are_one_list(service: Server):
    headers = [("Prefer", "wait=10"), ("Prefer", "respond-async")]
    files = {"file": ("x.csv", csv_file(1).encode(), "text/csv")}

    answer = http.post(f"{service.url}/hospitals/bulk", files=files, headers=headers)

    assert answer.status_code == 202
    wait_until(lambda: http.get(service.url + answer.headers["Location"]).json()["is_completed"])


def test_a_completed_batch_is_neither_resumed_nor_abandoned(service: Server):
    batch_id = upload(service, csv_file(1)).json()["batch_id"]

    problem(http.post(f"{service.url}/hospitals/resume/{batch_id}"), 409)
    problem(http.delete(f"{service.url}/hospitals/batch/{batch_id}/abandon"), 409)


def test_resume_and_abandon_of_a_stopped_batch(service: Server, directories: list[Server]):
    faults = f"{directories[-1].url}/_directory/faults"
    rule = {"endpoint": "create", "kind": "drop_before", "name": "Hospital 2"}
    http.put(faults, json=[rule])
    stopped = upload(service, csv_file(2)).json()
    http.delete(faults)
    assert stopped["status"] == "resumable"
    [entry] = http.get(f"{service.url}/hospitals/resumable").json()
    assert set(entry) == {
        "batch_id",
        "total_hospitals",
        "processed_hospitals",
        "failed_hospitals",
        "resume_from_row",
        "failure_reason",
        "last_checkpoint_time",
    }
    assert entry["resume_from_row"] == 2

    url = f"{service.url}/hospitals/resume/{stopped['batch_id']}"
    resumed = http.post(url, headers={"Prefer": "respond-async"})

    assert resumed.status_code == 202
    assert resumed.headers["Preference-Applied"] == "respond-async"
    wait_until(lambda: http.get(service.url + resumed.headers["Location"]).json()["is_completed"])
    progress = http.get(service.url + resumed.headers["Location"]).json()
    assert progress["status"] == "completed"
    assert progress["resume_count"] == 1

    http.put(faults, json=[rule])
    stopped = upload(service, csv_file(2)).json()
    http.delete(faults)
    gone = http.delete(f"{service.url}/hospitals/batch/{stopped['batch_id']}/abandon").json()
    assert gone["deleted_hospitals"] == 1
    assert gone["batch_id"] == stopped["batch_id"]
    problem(http.get(f"{service.url}/hospitals/progress/{stopped['batch_id']}"), 404)


def test_cleanup_keeps_young_batches(service: Server):
    assert http.post(f"{service.url}/hospitals/progress/cleanup").json() == {
        "message": "Completed batches forgotten: 0. "
        "Stopped batches abandoned in the background since the last cleanup: 0.",
        "cleaned": 0,
        "deleted_hospitals": 0,
    }


def test_the_openapi_document_describes_every_endpoint_with_examples(service: Server):
    document = http.get(f"{service.url}/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/",
        "/health",
        "/health/ready",
        "/metrics",
        "/hospitals/bulk",
        "/hospitals/validate",
        "/hospitals/progress/{batch_id}",
        "/hospitals/progress/cleanup",
        "/hospitals/progress/{batch_id}/events",
        "/hospitals/batches",
        "/hospitals/batch/{batch_id}/cancel",
        "/hospitals/batch/{batch_id}/rows/{row}",
        "/hospitals/batch/{batch_id}/report.csv",
        "/hospitals/batch/{batch_id}/verify",
        "/hospitals/resumable",
        "/hospitals/resume/{batch_id}",
        "/hospitals/batch/{batch_id}/abandon",
    }
    text = json.dumps(document)
    assert "HTTPValidationError" not in text
    for reference in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"]
    for shape in ("BulkResult", "Progress", "ValidationResult", "Resumable", "Abandoned"):
        assert document["components"]["schemas"][shape]["examples"]
    bulk = document["paths"]["/hospitals/bulk"]["post"]["responses"]
    assert set(bulk) == {"200", "202", "400", "408", "413", "415", "422", "429", "503"}
    assert all(PROBLEM in bulk[status]["content"] for status in bulk if status >= "400")
