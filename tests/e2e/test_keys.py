"""A service with keys: who comes in, and whose batches are whose. On a real socket."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import Settings
from main import create_app
from routers.openapi import operations
from scripts.processes import Server, start_service
from tests.e2e.conftest import CUT_OFF, HANGING, INSTANT, http, upload
from tests.e2e.test_http_contract import problem
from tests.harness import csv_file

ADMIN, NORTH, SOUTH = "the-secret-of-admin", "the-secret-of-north", "the-secret-of-south"
KEYS = f"admin:{ADMIN},north:{NORTH}"
DOCUMENT = create_app(Settings(_env_file=None, api_keys=KEYS)).openapi()
OPERATIONS = [(method, path) for method, path, _ in operations(DOCUMENT)]
OPEN = {"/", "/health", "/health/ready"}
OF_A_BATCH = [(method, path) for method, path in OPERATIONS if "{batch_id}" in path]


def key(secret: str) -> dict[str, str]:
    return {"X-API-Key": secret}


@pytest.fixture(scope="module")
def service(
    instant_directory: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A service whose keys come from the environment and from a file."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys").write_text(f"south:{SOUTH}\n")
    settings = INSTANT | {"api_keys": KEYS, "api_keys_file": str(folder / "keys")}
    service = start_service(folder, instant_directory.url, **settings)
    yield service
    service.kill()


def loaded(service: Server, secret: str, name: str = "Fine Hospital", **headers: str) -> str:
    """Load a file with one hospital; return the batch's id."""
    content = f'name,address\n{name},"12 Alder Lane, Leeds"\n'
    answer = upload(service, content, **key(secret), **headers)
    assert answer.status_code == 200
    batch_id: str = answer.json()["batch_id"]
    return batch_id


def listed(service: Server, secret: str) -> set[str]:
    answer = http.get(f"{service.url}/hospitals/batches?limit=100", headers=key(secret))
    return {batch["batch_id"] for batch in answer.json()["batches"]}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("secret", [None, "", NORTH + "x", NORTH[:-1], "north", f"north:{NORTH}"])
def test_what_is_not_open_needs_a_key(service: Server, method: str, path: str, secret: str | None):
    address = service.url + re.sub(r"{\w+}", "1", path)

    answer = http.request(method, address, headers=key(secret) if secret is not None else {})

    if path in OPEN:
        assert answer.status_code == 200
    else:
        assert problem(answer, 401)["title"] == "A key is needed"
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="hospital-bulk"'


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi.json", "/dashboard", "/dashboard/app.js"]
)
def test_pages_and_their_files_are_open(service: Server, path: str):
    assert http.get(service.url + path).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/dashboard/../hospitals/batches", "/docs/../hospitals/batches", "//hospitals/batches",
     "/hospitals/batches/", "/HOSPITALS/batches", "/docs%2f..%2fhospitals/batches",
     "/hospitals%2Fbatches", "/dashboardx", "/nothing"],
)  # fmt: skip
def test_no_way_of_writing_an_address_leads_round_the_key(service: Server, path: str):
    """
    Sent as it is: clients tidy addresses up.
    """
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.split()[1] in (b"401", b"404", b"307")
    assert b'batches":' not in answer


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": NORTH},
        {"x-api-key": NORTH},
        {"Authorization": f"Bearer {NORTH}"},
        {"Authorization": f"bearer  {NORTH}"},
        {"X-API-Key": SOUTH},
        {"X-API-Key": NORTH, "Authorization": "Basic bm9ydGg6eA=="},
    ],
)
def test_a_key_is_shown_in_either_header(service: Server, headers: dict[str, str]):
    assert http.get(f"{service.url}/hospitals/batches", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": NORTH},
        {"Authorization": f"Basic {NORTH}"},
        {"Authorization": f"Bearer {NORTH}", "X-API-Key": "other"},
    ],
)
def test_what_is_shown_otherwise_does_not_count(service: Server, headers: dict[str, str]):
    assert http.get(f"{service.url}/hospitals/batches", headers=headers).status_code == 401


def test_on_one_connection_each_request_is_judged_by_its_own_key(service: Server):
    batch_id = loaded(service, NORTH)
    address = f"{service.url}/hospitals/progress/{batch_id}"

    with httpx.Client() as client:
        statuses = [
            client.get(address, headers=headers).status_code
            for headers in (key(NORTH), {}, key(SOUTH), key(NORTH), {}, key(ADMIN))
        ]

    assert statuses == [200, 401, 404, 200, 401, 200]


def test_an_upload_without_a_key_is_answered_before_it_is_read(service: Server):
    """
    And the connection is given up: what would still come is nobody's.
    """
    host, port = service.url.removeprefix("http://").split(":")
    head = (
        "POST /hospitals/bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("size", [100, 60_000, 900_000])
def test_an_ordinary_client_gets_to_read_the_refusal(service: Server, size: int):
    for _ in range(20):
        assert upload(service, "x" * size).status_code == 401


@pytest.mark.parametrize(("method", "path"), OF_A_BATCH)
def test_anothers_batch_does_not_exist(service: Server, method: str, path: str):
    batch_id = loaded(service, NORTH, CUT_OFF)
    address = service.url + path.replace("{batch_id}", batch_id).replace("{row}", "1")
    change = {"name": "Other Hospital"} if method == "PATCH" else None
    unknown = address.replace(batch_id, "0b6a9c1e-6a3f-4c5e-9d56-0f0f6f1c2a11")

    answer = http.request(method, address, headers=key(SOUTH), json=change)
    nothing = http.request(method, unknown, headers=key(SOUTH), json=change)

    assert answer.status_code == nothing.status_code == 404
    assert answer.text == nothing.text.replace("0b6a9c1e-6a3f-4c5e-9d56-0f0f6f1c2a11", batch_id)
    before = http.get(f"{service.url}/hospitals/progress/{batch_id}", headers=key(NORTH)).json()
    assert (before["status"], before["resume_count"]) == ("resumable", 0)


def test_lists_hold_ones_own_batches_and_an_admins_hold_all(service: Server):
    mine, other = loaded(service, NORTH, CUT_OFF), loaded(service, SOUTH, CUT_OFF)

    assert {mine, other} & listed(service, NORTH) == {mine}
    assert {mine, other} & listed(service, SOUTH) == {other}
    assert {mine, other} <= listed(service, ADMIN)
    for secret, expected in ((NORTH, {mine}), (SOUTH, {other}), (ADMIN, {mine, other})):
        answer = http.get(f"{service.url}/hospitals/resumable", headers=key(secret)).json()
        assert {batch["batch_id"] for batch in answer} & {mine, other} == expected


def test_an_owner_and_an_admin_may_do_everything_with_a_batch(service: Server):
    for secret in (SOUTH, ADMIN):
        batch_id = loaded(service, SOUTH, CUT_OFF)
        progress = http.get(
            f"{service.url}/hospitals/progress/{batch_id}", headers=key(secret)
        ).json()
        abandoned = http.delete(
            f"{service.url}/hospitals/batch/{batch_id}/abandon", headers=key(secret)
        )

        assert progress["owner"] == "south"
        assert abandoned.status_code == 200


def test_one_upload_name_of_two_keys_is_two_batches(service: Server):
    name = {"Idempotency-Key": "monday"}

    assert loaded(service, NORTH, **name) == loaded(service, NORTH, **name)
    assert loaded(service, NORTH, **name) != loaded(service, SOUTH, **name)


def test_a_replay_says_so_and_another_file_is_refused(service: Server):
    name = {"Idempotency-Key": "tuesday", **key(NORTH)}
    content = csv_file(3)

    first = upload(service, content, **name)
    again = upload(service, content, **name)
    at_once = upload(service, content, **name, Prefer="respond-async")
    other = upload(service, csv_file(4), **name)

    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()
    assert (at_once.status_code, at_once.headers["Idempotency-Replayed"]) == (202, "true")
    assert at_once.json()["status"] == "completed"
    assert again.headers["Location"] == at_once.headers["Location"] == first.headers["Location"]
    assert problem(other, 422)["type"].endswith(":key-reused")


@pytest.mark.parametrize("name", ["", "x" * 256, "é", "a\tb"])
def test_an_upload_name_that_is_none_is_refused(service: Server, name: str):
    headers = [(b"Idempotency-Key", name.encode("latin-1")), (b"X-API-Key", NORTH.encode())]
    files = {"file": ("x.csv", csv_file(1).encode(), "text/csv")}

    answer = http.post(f"{service.url}/hospitals/bulk", files=files, headers=headers)

    assert "idempotency-key" in problem(answer, 422)["detail"].lower()


def test_an_upload_has_one_name(service: Server):
    names = [(b"Idempotency-Key", name) for name in (b"one", b"two")]
    files = {"file": ("x.csv", csv_file(1).encode(), "text/csv")}
    headers = [*names, (b"X-API-Key", NORTH.encode())]

    answer = http.post(f"{service.url}/hospitals/bulk", files=files, headers=headers)

    assert problem(answer, 422)["detail"] == "header idempotency-key: Send it once."


def test_the_longest_upload_name_is_taken(service: Server):
    batch_id = loaded(service, NORTH, **{"Idempotency-Key": "x" * 255})

    assert batch_id == loaded(service, NORTH, **{"Idempotency-Key": "x" * 255})


def test_no_secret_is_in_what_the_service_prints_or_keeps(service: Server, tmp_path: Path):
    batch_id = loaded(service, NORTH, **{"Idempotency-Key": "wednesday"})
    http.get(f"{service.url}/hospitals/batches", headers=key("a-secret-that-is-wrong"))

    log = Path(service._log)
    checkpoint = (log.parent / "batch_storage" / f"{batch_id}.json").read_text()

    assert '"owner": "north"' in checkpoint
    for secret in (ADMIN, NORTH, SOUTH, "a-secret-that-is-wrong"):
        assert secret not in service.output()
        assert secret not in checkpoint


def test_a_killed_service_knows_its_owners_and_upload_names_again(
    instant_directory: Server, tmp_path: Path
):
    settings: dict[str, Any] = INSTANT | {"api_keys": KEYS}
    service = start_service(tmp_path, instant_directory.url, **settings)
    try:
        batch_id = loaded(service, NORTH, **{"Idempotency-Key": "monday"})
        service.kill()
        rotated = settings | {"api_keys": f"admin:{ADMIN},north:another-secret-of-north"}
        service = start_service(tmp_path, instant_directory.url, **rotated)

        assert listed(service, "another-secret-of-north") == {batch_id}
        again = loaded(service, "another-secret-of-north", **{"Idempotency-Key": "monday"})
        assert again == batch_id
        refused = http.get(f"{service.url}/hospitals/batches", headers=key(NORTH))
        assert refused.status_code == 401
    finally:
        service.kill()


def test_batches_from_before_there_were_keys_are_the_admins(
    instant_directory: Server, tmp_path: Path
):
    service = start_service(tmp_path, instant_directory.url, **INSTANT)
    try:
        batch_id = upload(service, csv_file(1)).json()["batch_id"]
        service.kill()
        service = start_service(tmp_path, instant_directory.url, **INSTANT, api_keys=KEYS)

        assert listed(service, ADMIN) == {batch_id}
        assert listed(service, NORTH) == set()
    finally:
        service.kill()


def test_the_batches_of_a_key_that_wait_are_bounded(instant_directory: Server, tmp_path: Path):
    bound: dict[str, Any] = {"max_batches_per_caller": 1, "api_keys": KEYS}
    service = start_service(tmp_path, instant_directory.url, **INSTANT, **bound)
    hanging = f'name,address\n{HANGING},"12 Alder Lane, Leeds"\n'
    try:
        first = upload(service, hanging, **key(NORTH), Prefer="respond-async")
        refused = upload(service, hanging, **key(NORTH))
        other = upload(service, hanging, **key(ADMIN), Prefer="respond-async")

        assert (first.status_code, refused.status_code, other.status_code) == (202, 429, 202)
        assert problem(refused, 429)["type"].endswith(":too-many-batches")
        assert int(refused.headers["Retry-After"]) >= 1
    finally:
        service.kill()


@pytest.mark.parametrize("root", ["/docs", "/dashboard", "/bulk"])
async def test_a_path_that_a_proxy_puts_before_all_others_opens_nothing(root: str):
    app = create_app(Settings(_env_file=None, api_keys=KEYS))
    transport = httpx.ASGITransport(app, root_path=root)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
        statuses = [
            (await client.get(root + path)).status_code
            for path in ("/hospitals/batches", "/hospitals/validate", "/health", "/dashboard")
        ]

    assert statuses == [401, 401, 200, 200]
