"""The local directory keeps the contract and the timing of the real one.

In process and on a virtual clock: a minute's rate window costs no time.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from directory.app import ConnectionDropped, Directory, DirectorySettings, create_directory
from directory.calls import Endpoint
from directory.limits import FixedWindows
from tests.virtual_time import run_virtual

BATCH = str(UUID(int=1))
OTHER_BATCH = str(UUID(int=2))
HOSPITAL = {"name": "General", "address": "1 Main Street"}
IN_BATCH = HOSPITAL | {"creation_batch_id": BATCH}
HTML = "text/html; charset=utf-8"
NO_BATCH = {"detail": "No hospitals found with the specified batch ID"}
NO_HOSPITAL = {"detail": "Hospital not found"}


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual(test(*args, **kwargs))

    return run


def directory_of(**settings: Any) -> Directory:
    return create_directory(DirectorySettings(**settings))


def client_of(app: Directory, address: str = "10.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(address, 50000))
    return httpx.AsyncClient(transport=transport, base_url="http://directory.test")


def new_client(**settings: Any) -> httpx.AsyncClient:
    return client_of(directory_of(**settings))


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def insert(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/_directory/hospitals", json=HOSPITAL | fields)
    assert answer.status_code == 201
    return dict(answer.json())


async def stored(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list((await client.get("/_directory/hospitals")).json())


async def stats(client: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await client.get("/_directory/stats")).json())


async def create_many(client: httpx.AsyncClient, count: int, **fields: Any) -> list[httpx.Response]:
    hospital = HOSPITAL | fields
    return await asyncio.gather(
        *(client.post("/hospitals/", json=hospital, timeout=None) for _ in range(count))
    )


# The contract


@in_virtual_time
async def test_the_root_answers_that_it_is_well():
    answer = await new_client().get("/")

    assert (answer.status_code, answer.json()) == (200, {"status": "OK"})


@in_virtual_time
async def test_a_hospital_of_a_batch_is_created_inactive():
    answer = await new_client().post("/hospitals/", json=IN_BATCH | {"phone": "555"})

    created = answer.json()
    assert answer.status_code == 200
    assert "T" in created["created_at"]
    assert not created.pop("created_at").endswith(("Z", "+00:00"))
    assert created == IN_BATCH | {"id": 1, "phone": "555", "active": False}


@in_virtual_time
async def test_a_hospital_without_a_batch_is_active_at_once():
    created = (await new_client().post("/hospitals/", json=HOSPITAL)).json()

    assert (created["active"], created["creation_batch_id"], created["phone"]) == (True, None, None)


@in_virtual_time
async def test_strings_are_stored_as_sent():
    client = new_client()
    sent = {"name": "  Köln \t", "address": "\u200b病院" * 3000, "phone": " "}

    await client.post("/hospitals/", json=sent)

    assert sent.items() <= (await client.get("/hospitals/1")).json().items()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"name": "A"}',
        b'{"name": " \\t", "address": "B"}',
        b'{"name": "A", "address": ""}',
        b'{"name": null, "address": "B"}',
        b'{"name": "A", "address": "B", "creation_batch_id": "x"}',
    ],
)
@in_virtual_time
async def test_an_unacceptable_create_answers_422_at_once_and_is_not_counted(body: bytes):
    client = new_client(create_limit=1)

    refused = await client.post("/hospitals/", content=body)

    assert (refused.status_code, now_s()) == (422, 1000.0)
    assert isinstance(refused.json()["detail"], list)
    assert (await client.post("/hospitals/", json=HOSPITAL)).status_code == 200


@in_virtual_time
async def test_a_create_without_the_slash_is_redirected_and_not_counted():
    client = new_client(create_limit=1)

    redirect = await client.post("/hospitals", json=HOSPITAL)

    assert redirect.status_code == 307
    assert redirect.headers["location"] == "http://directory.test/hospitals/"
    assert (await client.post("/hospitals/", json=HOSPITAL)).status_code == 200


@in_virtual_time
async def test_one_hospital_can_be_read_changed_and_deleted():
    client = new_client()
    row = await insert(client, creation_batch_id=BATCH)

    changed = await client.put("/hospitals/1", json={"name": "New", "phone": "1"})

    assert changed.json() == row | {"name": "New", "phone": "1"}
    assert (await client.get("/hospitals/1")).json() == changed.json()
    assert (await client.get(f"/hospitals/batch/{BATCH}")).json() == [changed.json()]
    assert (await client.delete("/hospitals/1")).status_code == 204
    assert (await client.get("/hospitals/1")).status_code == 404
    assert (await client.get(f"/hospitals/batch/{BATCH}")).status_code == 404


@in_virtual_time
async def test_an_update_can_write_null():
    client = new_client()
    await insert(client)

    assert (await client.put("/hospitals/1", json={"name": None})).json()["name"] is None


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@in_virtual_time
async def test_a_hospital_that_is_not_there_answers_404(method: str):
    answer = await new_client().request(method, "/hospitals/7", json={})

    assert (answer.status_code, answer.json()) == (404, NO_HOSPITAL)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/hospitals/x", 422),
        ("PUT", "/hospitals/1", 422),
        ("GET", "/hospitals/batch/x", 422),
        ("PATCH", "/hospitals/batch/x/activate", 422),
        ("GET", "/hospitals/1/", 307),
        ("GET", "/elsewhere", 404),
        ("DELETE", "/hospitals/", 405),
        ("PATCH", f"/hospitals/batch/{BATCH}", 405),
    ],
)
@in_virtual_time
async def test_what_no_endpoint_understands_is_refused(method: str, path: str, status: int):
    answer = await new_client().request(method, path, json={"name": " "})

    assert answer.status_code == status


@in_virtual_time
async def test_every_hospital_is_listed():
    client = new_client()
    rows = [await insert(client), await insert(client, creation_batch_id=BATCH)]

    assert (await client.get("/hospitals/")).json() == rows


@in_virtual_time
async def test_an_activation_makes_its_batch_active_and_no_other():
    client = new_client()
    for batch_id in (BATCH, BATCH, OTHER_BATCH):
        await insert(client, creation_batch_id=batch_id)

    answer = await client.patch(f"/hospitals/batch/{BATCH}/activate")

    assert answer.status_code == 200
    assert answer.json()["activated_count"] == 2
    assert isinstance(answer.json()["message"], str)
    assert [row["active"] for row in await stored(client)] == [True, True, False]


@in_virtual_time
async def test_a_batch_with_any_active_hospital_cannot_be_activated():
    client = new_client()
    await insert(client, creation_batch_id=BATCH)
    await insert(client, creation_batch_id=BATCH, active=True)

    answer = await client.patch(f"/hospitals/batch/{BATCH}/activate")

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)
    assert [row["active"] for row in await stored(client)] == [False, True]


@in_virtual_time
async def test_deleting_a_batch_deletes_active_hospitals_too():
    client = new_client()
    await insert(client, creation_batch_id=BATCH, active=True)
    await insert(client, creation_batch_id=BATCH)
    kept = await insert(client, creation_batch_id=OTHER_BATCH)

    answer = await client.delete(f"/hospitals/batch/{BATCH}")

    assert (answer.status_code, answer.json()["deleted_count"]) == (200, 2)
    assert await stored(client) == [kept]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PATCH", "/activate"), ("DELETE", "")])
@in_virtual_time
async def test_a_batch_without_hospitals_answers_404(method: str, path: str):
    answer = await new_client().request(method, f"/hospitals/batch/{BATCH}{path}")

    assert (answer.status_code, answer.json()) == (404, NO_BATCH)


# The work of a create


@in_virtual_time
async def test_twenty_creates_at_once_take_the_time_of_one():
    client = new_client()

    answers = await create_many(client, 20, creation_batch_id=BATCH)

    assert now_s() == 1005.0
    assert sorted(answer.json()["id"] for answer in answers) == list(range(1, 21))


@in_virtual_time
async def test_a_create_is_stored_only_after_its_work():
    client = new_client()
    create = asyncio.create_task(client.post("/hospitals/", json=IN_BATCH))

    await asyncio.sleep(4.9)

    assert await stored(client) == []
    assert (await stats(client))["creates_in_flight"] == 1
    await create
    assert len(await stored(client)) == 1


@in_virtual_time
async def test_a_create_is_stored_even_when_its_client_has_left():
    client = new_client()
    create = asyncio.create_task(client.post("/hospitals/", json=IN_BATCH))
    await asyncio.sleep(1)

    create.cancel()
    await asyncio.sleep(4.1)

    assert len(await stored(client)) == 1


@in_virtual_time
async def test_a_create_that_waits_for_a_place_is_stored_even_when_its_client_has_left():
    client = new_client(workers=1)
    creates = [asyncio.create_task(client.post("/hospitals/", json=IN_BATCH)) for _ in range(2)]
    await asyncio.sleep(1)

    for create in creates:
        create.cancel()
    await asyncio.sleep(9.1)

    assert len(await stored(client)) == 2


@in_virtual_time
async def test_the_batch_list_is_in_order_of_completion():
    client = new_client()
    slow = {"endpoint": "any", "kind": "late", "name": "First", "seconds": 9}
    await client.put("/_directory/faults", json=[slow])

    with pytest.raises(ConnectionDropped):
        await client.post("/hospitals/", json=IN_BATCH | {"name": "First"})
    await client.post("/hospitals/", json=IN_BATCH | {"name": "Second"})
    await asyncio.sleep(5)

    listed = (await client.get(f"/hospitals/batch/{BATCH}")).json()
    assert [row["name"] for row in listed] == ["Second", "First"]


@in_virtual_time
async def test_a_full_batch_refuses_at_once_and_counts_it():
    client = new_client(create_limit=1)
    for _ in range(20):
        await insert(client, creation_batch_id=BATCH)

    answer = await client.post("/hospitals/", json=IN_BATCH)

    assert (answer.status_code, now_s()) == (400, 1000.0)
    assert answer.json() == {"detail": "Batch cannot exceed 20 hospitals"}
    assert (await client.post("/hospitals/", json=HOSPITAL)).status_code == 429


@in_virtual_time
async def test_concurrent_creates_overshoot_the_cap_of_a_batch():
    client = new_client(create_limit=0)

    answers = await create_many(client, 35, creation_batch_id=BATCH)

    assert {answer.status_code for answer in answers} == {200}
    assert len(await stored(client)) == 35


@in_virtual_time
async def test_a_create_under_way_survives_the_delete_of_its_batch():
    client = new_client()
    await insert(client, creation_batch_id=BATCH)
    create = asyncio.create_task(client.post("/hospitals/", json=IN_BATCH))
    await asyncio.sleep(1)

    await client.delete(f"/hospitals/batch/{BATCH}")
    await create

    assert [row["id"] for row in await stored(client)] == [2]


@in_virtual_time
async def test_the_oldest_rows_are_dropped_above_the_limit():
    client = new_client(keep=2)
    for batch_id in (BATCH, OTHER_BATCH, BATCH):
        await insert(client, creation_batch_id=batch_id)

    assert [row["id"] for row in await stored(client)] == [2, 3]
    assert [row["id"] for row in (await client.get(f"/hospitals/batch/{BATCH}")).json()] == [3]


# Rate limits and places


@in_virtual_time
async def test_the_create_above_the_limit_is_refused_without_work():
    client = new_client()

    answers = await create_many(client, 31)
    refused = answers[-1]

    assert [answer.status_code for answer in answers] == [200] * 30 + [429]
    assert refused.json() == {"error": "Rate limit exceeded: 30 per 1 minute"}
    assert "retry-after" not in refused.headers
    assert len(await stored(client)) == 30
    assert (await stats(client))["refused"] == {"create": 1}


@in_virtual_time
async def test_the_window_opens_with_the_first_hit_after_the_previous_one():
    client = new_client(root_limit=2)
    await asyncio.sleep(30)

    codes = []
    for wait_s in (0, 50, 0, 9.9, 0.2, 59.9, 0, 0.2):  # hits at 0, 50, 50, 59.9, 60.1, 120, ...
        await asyncio.sleep(wait_s)
        codes.append((await client.get("/")).status_code)

    assert codes == [200, 200, 429, 429, 200, 200, 429, 200]


@in_virtual_time
async def test_each_address_and_each_endpoint_has_its_own_window():
    app = directory_of(root_limit=1, lookup_limit=1)
    client, stranger = client_of(app), client_of(app, "10.0.0.2")

    answers = [await caller.get("/") for caller in (client, client, stranger)]
    lookups = [await client.get("/hospitals/") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert [answer.status_code for answer in lookups] == [200, 429]


@in_virtual_time
async def test_lookups_have_fifty_and_the_root_a_hundred_hits():
    client = new_client()

    lookups = [(await client.get(f"/hospitals/batch/{BATCH}")).status_code for _ in range(51)]
    roots = [(await client.get("/")).status_code for _ in range(101)]

    assert lookups == [404] * 50 + [429]
    assert roots == [200] * 100 + [429]


@in_virtual_time
async def test_another_period_is_named_in_the_refusal():
    client = new_client(root_limit=1, period=2.5)
    await client.get("/")

    assert (await client.get("/")).json() == {"error": "Rate limit exceeded: 1 per 2.5 second"}


@in_virtual_time
async def test_a_limit_of_zero_is_no_limit():
    client = new_client(create_limit=0, lookup_limit=0, root_limit=0, keep=0, batch_limit=0)

    created = await create_many(client, 200, creation_batch_id=BATCH)
    for _ in range(200):
        assert (await client.get("/")).status_code == 200

    assert {answer.status_code for answer in created} == {200}
    assert len((await client.get("/hospitals/")).json()) == 200


@in_virtual_time
async def test_beyond_the_places_even_the_root_waits():
    client = new_client(create_limit=0)
    creates = asyncio.create_task(create_many(client, 40))
    await asyncio.sleep(1)

    await client.get("/")

    assert now_s() == 1005.0
    await creates


@in_virtual_time
async def test_a_create_holds_its_place_after_its_client_has_left():
    client = new_client(workers=1)
    create = asyncio.create_task(client.post("/hospitals/", json=HOSPITAL))
    await asyncio.sleep(1)

    create.cancel()
    await client.get("/")

    assert now_s() == 1005.0


@given(
    gaps=st.lists(st.floats(0, 40), max_size=60),
    limit=st.integers(1, 4),
)
def test_no_window_ever_admits_more_than_the_limit(gaps: list[float], limit: int):
    windows = FixedWindows(dict.fromkeys(Endpoint, limit), 60.0)
    now, opened, admitted = 0.0, float("-inf"), 0

    for gap in gaps:
        now += gap
        if now >= opened + 60.0:
            opened, admitted = now, 0
        expected = admitted < limit
        admitted += expected

        assert windows.admit("a", Endpoint.GET, now) is expected


# Control


@in_virtual_time
async def test_a_restart_forgets_rows_and_windows_and_counts_ids_from_one():
    client = new_client(root_limit=1)
    await insert(client)
    await client.get("/")

    await client.post("/_directory/restart", json={"down_seconds": 0})

    assert await stored(client) == []
    assert (await insert(client))["id"] == 1
    assert (await client.get("/")).status_code == 200


@in_virtual_time
async def test_creates_under_way_do_not_survive_a_restart():
    client = new_client(workers=1)
    creates = [asyncio.create_task(client.post("/hospitals/", json=HOSPITAL)) for _ in range(2)]
    await asyncio.sleep(1)

    await client.post("/_directory/restart")

    for create in creates:
        with pytest.raises(ConnectionDropped):
            await create
    assert now_s() == 1001.0
    await asyncio.sleep(10)
    assert await stored(client) == []
    assert (await stats(client))["creates_in_flight"] == 0


@in_virtual_time
async def test_a_directory_that_is_down_drops_every_connection_but_the_control():
    client = new_client()
    await client.post("/_directory/restart", json={"down_seconds": 10})
    await asyncio.sleep(9.9)

    for path in ("/", "/elsewhere"):
        with pytest.raises(ConnectionDropped):
            await client.get(path)
    assert (await client.get("/_directory/stats")).status_code == 200
    await asyncio.sleep(0.1)
    assert (await client.get("/")).status_code == 200


@in_virtual_time
async def test_requests_to_a_sleeping_directory_wait_until_the_first_of_them_has_woken_it():
    client = new_client()
    await client.post("/_directory/sleep", json={"wake_seconds": 3})
    await asyncio.sleep(100)

    first = asyncio.create_task(client.get("/"))
    await asyncio.sleep(1)
    second = await client.get("/hospitals/")

    assert now_s() == 1103.0
    assert ((await first).status_code, second.status_code) == (200, 200)
    await client.get("/")
    assert now_s() == 1103.0


@pytest.mark.parametrize("status", [502, 503])
@in_virtual_time
async def test_a_proxy_can_answer_for_a_waking_directory(status: int):
    client = new_client()
    await client.post("/_directory/sleep", json={"wake_seconds": 3, "status": status})

    answer = await client.get("/")
    await asyncio.sleep(2.9)

    assert (answer.status_code, answer.headers["content-type"]) == (status, HTML)
    assert (await client.get("/")).status_code == status
    await asyncio.sleep(0.1)
    assert (await client.get("/")).status_code == 200


@in_virtual_time
async def test_a_restart_drops_the_requests_that_wait_for_a_sleeping_directory():
    client = new_client()
    await client.post("/_directory/sleep", json={"wake_seconds": 30})
    waiting = asyncio.create_task(client.get("/"))
    await asyncio.sleep(1)

    await client.post("/_directory/restart")

    with pytest.raises(ConnectionDropped):
        await waiting
    assert (await client.get("/")).status_code == 200


@in_virtual_time
async def test_the_control_is_neither_limited_nor_held_up():
    client = new_client(workers=1, lookup_limit=1, create_limit=1)
    await client.put("/_directory/faults", json=[{"endpoint": "any", "kind": "drop_before"}])
    await client.delete("/_directory/faults")
    create = asyncio.create_task(client.post("/hospitals/", json=HOSPITAL))
    await asyncio.sleep(1)

    for _ in range(3):
        await insert(client)
        assert (await client.get("/_directory/faults")).json() == []

    assert now_s() == 1001.0
    assert (await create).json()["id"] == 4


@in_virtual_time
async def test_the_stats_tell_what_happened():
    client = new_client(create_limit=3, lookup_limit=1)
    await create_many(client, 4)
    await client.get("/hospitals/1")
    await client.get("/hospitals/1")

    seen = await stats(client)

    assert seen == {
        "requests": {"create": 4, "get": 2},
        "refused": {"create": 1, "get": 1},
        "faulted": {},
        "max_in_flight": 4,
        "creates_in_flight": 0,
        "committed": 3,
        "create_times": [1000.0] * 3,
    }


@in_virtual_time
async def test_a_reset_of_the_stats_keeps_what_is_under_way():
    client = new_client()
    create = asyncio.create_task(client.post("/hospitals/", json=HOSPITAL))
    await asyncio.sleep(1)

    await client.delete("/_directory/stats")

    seen = await stats(client)
    assert (seen["requests"], seen["create_times"]) == ({}, [])
    assert (seen["max_in_flight"], seen["creates_in_flight"]) == (1, 1)
    await create
    assert (await stats(client))["committed"] == 1


@pytest.mark.parametrize(
    "rule",
    [
        {"endpoint": "create"},
        {"endpoint": "create", "kind": "explode"},
        {"endpoint": "nowhere", "kind": "slow"},
        {"endpoint": "create", "kind": "slow", "often": True},
        {"endpoint": "create", "kind": "slow", "times": 0},
        {"endpoint": "create", "kind": "slow", "probability": 2},
        {"endpoint": "create", "kind": "partial"},
        {"endpoint": "get", "kind": "full"},
        {"endpoint": "get", "kind": "slow", "name": "A"},
        {"endpoint": "get", "kind": ["slow"]},
        "slow",
    ],
)
@in_virtual_time
async def test_a_fault_rule_that_makes_no_sense_is_rejected(rule: object):
    client = new_client()

    assert (await client.put("/_directory/faults", json=[rule])).status_code == 422
    assert (await client.get("/_directory/faults")).json() == []


@in_virtual_time
async def test_putting_back_the_list_of_faults_does_not_start_them_anew():
    """A test adds a fault by putting the list it got plus one more."""
    client = new_client()
    rules = [
        {"endpoint": "root", "kind": "error_before", "times": 1},
        {"endpoint": "root", "kind": "gateway", "times": 2, "skip": 1},
    ]
    await client.put("/_directory/faults", json=rules)

    codes = [(await client.get("/")).status_code for _ in range(3)]
    left = (await client.get("/_directory/faults")).json()
    await client.put("/_directory/faults", json=left)
    codes += [(await client.get("/")).status_code for _ in range(2)]

    assert codes == [500, 200, 404, 404, 200]
    assert [(rule["kind"], rule["times"], rule["skip"]) for rule in left] == [("gateway", 1, 0)]


@in_virtual_time
async def test_a_fault_can_be_for_creates_of_one_hospital_only():
    client = new_client()
    await client.put(
        "/_directory/faults", json=[{"endpoint": "any", "kind": "error_before", "name": "B"}]
    )

    codes = [
        (await client.post("/hospitals/", json=HOSPITAL | {"name": name})).status_code
        for name in "ABC"
    ]

    assert codes == [200, 500, 200]
    assert (await client.get("/")).status_code == 200


@in_virtual_time
async def test_a_request_refused_for_its_rate_uses_no_fault_up():
    client = new_client(root_limit=1)
    rule = {"endpoint": "root", "kind": "error_before", "times": 1, "skip": 1}
    await client.put("/_directory/faults", json=[rule])

    codes = [(await client.get("/")).status_code for _ in range(2)]
    await asyncio.sleep(60)
    codes.append((await client.get("/")).status_code)

    assert codes == [200, 429, 500]
    assert (await stats(client))["faulted"] == {"error_before": 1}


@in_virtual_time
async def test_the_same_seed_brings_the_same_luck():
    rule = {"endpoint": "root", "kind": "error_before", "probability": 0.5}

    async def codes(seed: int) -> list[int]:
        client = new_client(seed=seed)
        await client.put("/_directory/faults", json=[rule])
        return [(await client.get("/")).status_code for _ in range(40)]

    first = await codes(1)
    assert set(first) == {200, 500}
    assert first == await codes(1)
    assert first != await codes(2)


@in_virtual_time
async def test_a_hanging_answer_is_dropped_in_the_end():
    client = new_client()
    await client.put("/_directory/faults", json=[{"endpoint": "root", "kind": "hang"}])

    with pytest.raises(ConnectionDropped):
        await client.get("/", timeout=None)

    assert now_s() == 4600.0


@pytest.mark.parametrize(
    "settings", [{"workers": 0}, {"period": 0.0}, {"create_seconds": -1.0}, {"keep": -1}]
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]):
    with pytest.raises(ValueError, match="must"):
        DirectorySettings(**settings)
