"""How often one caller may ask, and who that is: the real service on a real socket."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.processes import Server, start_service
from tests.e2e.conftest import INSTANT, http

LIMIT = 5
CALLS = 20 * LIMIT


def _service(folder: Path, directory: Server, **settings: Any) -> Server:
    settings = INSTANT | {"max_requests_per_second": LIMIT} | settings
    return start_service(folder, directory.url, **settings)


@pytest.fixture(scope="module")
def service(
    instant_directory: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    service = _service(tmp_path_factory.mktemp("rate"), instant_directory)
    yield service
    service.kill()


@pytest.fixture
def behind_a_proxy(instant_directory: Server, tmp_path: Path) -> Iterator[Server]:
    service = _service(tmp_path, instant_directory, forwarded_allow_ips="127.0.0.1")
    yield service
    service.kill()


def statuses(service: Server, path: str = "/hospitals/resumable", **forwarded: str) -> Counter[int]:
    """Return how many of many calls got which status; `{}` in a header's value is the number."""
    return Counter(
        http.get(
            service.url + path,
            headers={
                name.replace("_", "-"): value.format(number % 250)
                for name, value in forwarded.items()
            },
        ).status_code
        for number in range(CALLS)
    )


def test_who_asks_too_often_is_refused_with_when_to_come_again(service: Server):
    assert statuses(service)[429] > CALLS / 2
    refused = http.get(f"{service.url}/hospitals/resumable")
    while refused.status_code != 429:
        refused = http.get(f"{service.url}/hospitals/resumable")

    assert refused.headers["Retry-After"] == "1"
    assert refused.json()["type"] == "urn:hospital-bulk:problem:too-many-requests"


def test_whether_it_is_well_can_be_asked_as_often_as_one_likes(service: Server):
    assert statuses(service, "/health") == {200: CALLS}


def test_a_client_cannot_choose_the_address_it_is_counted_by(service: Server):
    """Here it is on this machine, which uvicorn itself would believe."""
    assert statuses(service, X_Forwarded_For="198.51.100.{}")[429] > CALLS / 2


def test_behind_a_named_proxy_each_client_is_counted_for_itself(behind_a_proxy: Server):
    assert statuses(behind_a_proxy, X_Forwarded_For="198.51.100.{}") == {200: CALLS}
    assert statuses(behind_a_proxy, X_Forwarded_For="203.0.113.9")[429] > CALLS / 2


def test_guessed_keys_count_by_address(instant_directory: Server, tmp_path: Path):
    key = "a-key-that-is-right"
    service = _service(tmp_path, instant_directory, api_keys=f"desk:{key}")
    try:
        guesses = statuses(service, X_API_Key="guess-number-{}-of-many")
        right = http.get(f"{service.url}/hospitals/resumable", headers={"X-API-Key": key})
    finally:
        service.kill()

    assert set(guesses) == {401, 429}
    assert guesses[429] > CALLS / 2
    assert right.status_code == 200
