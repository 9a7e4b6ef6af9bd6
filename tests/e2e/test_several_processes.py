"""Several processes on one database: whoever is asked answers, whoever lives goes on."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any
from uuid import uuid4

import httpx
import pytest

from scripts.postgres import PostgresServer
from scripts.processes import ROOT, Process, Server, free_port
from tests.e2e.conftest import (
    ASYNC,
    QUICK,
    UNPACED,
    World,
    accepted,
    assert_exactly_once,
    at_once,
    ended,
    http,
    new_database,
    progress,
    upload,
    wait_until,
)
from tests.e2e.event_client import merged
from tests.e2e.tap import tapping
from tests.e2e.test_events import Stream
from tests.e2e.test_metrics import series_of, value
from tests.harness import csv_file

TAKE_OVER_S = 15.0  # a process that was not seen for 6 s lost its batches
ROUNDS = 4
HAND_OVER_S = 3.0  # one that says that it leaves is not waited for
# Of a file in one directory batch, however large, some is always left to be sent.
SLOW = UNPACED | {"max_concurrent_requests": 2}


@dataclass(frozen=True)
class Company:
    """Two processes that serve and run nothing, and one that runs what they take."""

    world: World
    one: Server
    other: Server


@pytest.fixture(scope="module")
def company(
    tmp_path_factory: pytest.TempPathFactory, roomy_directory: Server, postgres: PostgresServer
) -> Iterator[Company]:
    world = World(tmp_path_factory.mktemp("company"), roomy_directory, new_database(postgres))
    one, other, _ = at_once(
        lambda: world.web(**SLOW), lambda: world.web(**SLOW), lambda: world.worker(**SLOW)
    )
    assert isinstance(one, Server)
    assert isinstance(other, Server)
    yield Company(world, one, other)
    world.end()


def created(service: Server, batch_id: str) -> int:
    return int(progress(service, batch_id)["processed_hospitals"])


def stopped_batch(company: Company) -> str:
    """Return a batch of which a row was cut off by something in between."""
    company.world.fault({"endpoint": "create", "kind": "gateway", "name": "Hospital 2"})
    batch = upload(company.one, csv_file(2)).json()
    company.world.fault()
    assert batch["status"] == "resumable"
    return str(batch["batch_id"])


def test_an_upload_that_waits_is_answered_when_a_worker_has_loaded_it(company: Company):
    answer = upload(company.one, csv_file(3))

    result = answer.json()
    assert answer.status_code == 200
    assert (result["status"], result["batch_activated"]) == ("completed", True)
    assert progress(company.other, result["batch_id"])["status"] == "completed"
    assert_exactly_once(company.world, company.other, result["batch_id"], 3)


def test_a_batch_is_followed_cancelled_and_resumed_wherever_one_asks(company: Company):
    one, other = company.one, company.other
    batch_id = accepted(one, 10)
    wait_until(lambda: created(other, batch_id))
    [listed] = http.get(f"{other.url}/hospitals/batches?status=processing").json()["batches"]
    assert listed["batch_id"] == batch_id

    answer = http.post(f"{other.url}/hospitals/batch/{batch_id}/cancel")

    assert answer.status_code == 202
    stopped = ended(one, batch_id)
    assert stopped["status"] == "resumable"
    assert "cancelled" in stopped["failure_reason"]
    assert stopped["processed_hospitals"] < 8
    assert [b["batch_id"] for b in http.get(f"{one.url}/hospitals/resumable").json()] == [batch_id]
    resumed = http.post(f"{other.url}/hospitals/resume/{batch_id}").json()
    assert resumed["status"] == "completed"
    assert len(resumed["hospitals"]) == 10 - stopped["processed_hospitals"]
    verified = http.get(f"{one.url}/hospitals/batch/{batch_id}/verify").json()
    assert verified["matches"]
    assert_exactly_once(company.world, one, batch_id, 10)


def test_a_batch_is_corrected_and_abandoned_wherever_one_asks(company: Company):
    one, other = company.one, company.other
    company.world.fault({"endpoint": "create", "kind": "reject", "name": "Hospital 2"})
    batch_id = upload(one, csv_file(2)).json()["batch_id"]
    company.world.fault()
    row = f"/hospitals/batch/{batch_id}/rows/2"
    corrected = http.patch(other.url + row, json={"name": "Second Hospital"})
    assert corrected.status_code == 200
    assert progress(one, batch_id)["hospitals"][1]["name"] == "Second Hospital"
    assert http.post(f"{one.url}/hospitals/resume/{batch_id}").json()["status"] == "completed"
    assert_exactly_once(company.world, other, batch_id, 2)

    stopped_id = stopped_batch(company)
    held = company.world.hospitals(stopped_id)
    gone = http.delete(f"{other.url}/hospitals/batch/{stopped_id}/abandon")

    assert gone.json()["deleted_hospitals"] == len(held)
    assert company.world.hospitals(stopped_id) == []
    for service in (one, other):
        assert http.get(f"{service.url}/hospitals/progress/{stopped_id}").status_code == 404


def test_what_is_told_to_have_stopped_can_be_seen_to_at_once(company: Company):
    for service in (company.one, company.other) * 2:
        batch_id = stopped_batch(company)
        verified = http.get(f"{service.url}/hospitals/batch/{batch_id}/verify")
        gone = http.delete(f"{service.url}/hospitals/batch/{batch_id}/abandon")
        assert (verified.status_code, gone.status_code) == (200, 200)


def test_of_many_who_resume_a_batch_at_several_processes_one_does(company: Company):
    batch_id = stopped_batch(company)
    company.world.fault(
        {"endpoint": "create", "kind": "gateway", "name": "Hospital 2"},
        {"endpoint": "list_batch", "kind": "slow", "seconds": 0.3},  # no run ends before all asked
    )
    path = f"/hospitals/resume/{batch_id}"
    calls = [
        lambda s=s: http.post(s.url + path, headers=ASYNC) for s in (company.one, company.other) * 2
    ]
    for _ in range(ROUNDS):
        answers = at_once(*calls)
        assert sorted(answer.status_code for answer in answers) == [202] + [409] * 3
        ended(company.one, batch_id)

    company.world.fault()
    http.post(company.other.url + path).raise_for_status()
    done = assert_exactly_once(company.world, company.one, batch_id, 2)
    assert done["resume_count"] == ROUNDS + 1


def test_an_upload_that_names_itself_is_one_batch_wherever_it_is_sent(company: Company):
    for _ in range(ROUNDS):
        key = {"Idempotency-Key": str(uuid4())} | ASYNC
        services = (company.one, company.other) * 2

        answers = at_once(*(lambda s=s, key=key: upload(s, csv_file(1), **key) for s in services))

        assert {answer.status_code for answer in answers} <= {200, 202}
        [batch_id] = {answer.json()["batch_id"] for answer in answers}
        assert_exactly_once(company.world, company.other, batch_id, 1)


def test_events_of_a_batch_that_a_worker_runs_come_at_once(company: Company):
    batch_id = accepted(company.one, 16)
    held_s: list[float] = []  # when the directory had each row
    stream = Stream(company.other, batch_id)
    while not stream.has_ended:
        held_s += [time.monotonic()] * (len(company.world.hospitals(batch_id)) - len(held_s))
        time.sleep(0.01)  # noqa: TID251 - the pause of the poller

    first, *changes, done = stream.wait()

    assert first.kind == "progress"
    assert {event.kind for event in changes} == {"rows"}
    assert done.kind == "done"
    assert done.data == progress(company.one, batch_id)
    assert merged([first, *changes]) == done.data
    assert done.data["status"] == "completed"
    told_s: dict[int, float] = {}
    for event, at_s in zip(stream.events, stream.at_s, strict=True):
        for count in range(event.data["processed_hospitals"]):
            told_s.setdefault(count, at_s)
    late_s = [told_s[count] - at_s for count, at_s in enumerate(held_s)]
    assert len(late_s) == 16
    assert max(late_s) < 1


def test_one_command_serves_with_several_processes(shared: World):
    port = free_port()
    settings = QUICK | UNPACED | {"database_url": shared.database}
    settings |= {"hospital_api_base_url": shared.directory.url}
    environment = {name.upper(): str(value) for name, value in settings.items()}
    arguments = ["uvicorn", "main:app", "--app-dir", str(ROOT), "--workers", "2"]
    arguments += ["--port", str(port)]
    service = Server(arguments, port, "/health", environment, shared.folder / "service.log")
    try:
        wait_until(lambda: service.output().count("Application startup complete") == 2)
        batch_ids = [accepted(service, 5) for _ in range(4)]
        for batch_id in batch_ids * 3:  # each on a connection of its own: it may reach either
            answer = httpx.get(f"{service.url}/hospitals/progress/{batch_id}")
            assert answer.status_code == 200
        for batch_id in batch_ids:
            assert_exactly_once(shared, service, batch_id, 5)
    finally:
        service.stop()


def test_the_batches_of_a_worker_that_is_killed_or_hangs_are_taken_over(shared: World):
    """And when it lives again it sends nothing more of them, and is of use for others."""
    with tapping(shared.directory, 3) as (tap, *taps):
        web, other, one, two = at_once(
            lambda: shared.web(**SLOW),
            lambda: shared.worker(**SLOW, **tap.setting),
            *[lambda t=t: shared.worker(**SLOW, **t.setting, max_queued_batches=1) for t in taps],
        )
        assert isinstance(web, Server)
        other.freeze()  # while the two take a batch each
        large_id = accepted(web, 30)
        wait_until(lambda: taps[0].creates_s or taps[1].creates_s)
        (frozen, frozen_tap), (killed, _) = sorted(
            zip((one, two), taps, strict=True), key=lambda pair: not pair[1].creates_s
        )
        small_id = accepted(web, 6)
        wait_until(lambda: created(web, small_id) > 1)

        frozen.freeze()
        killed.kill()
        other.thaw()
        taken_over = [large_id, small_id]
        wait_until(
            lambda: tap.creates_s and all(progress(web, b)["resume_count"] for b in taken_over),
            seconds=TAKE_OVER_S,
        )

        frozen.thaw()
        thawed_s = time.monotonic()
        for batch_id, rows in ((large_id, 30), (small_id, 6)):
            done = assert_exactly_once(shared, web, batch_id, rows)
            assert done["resume_count"] == 1
        assert len(tap.creates_since(thawed_s)) > 10, "there was much left to send"
        assert frozen_tap.creates_since(thawed_s) == []

        other.stop()
        later_id = accepted(web, 3)
        assert_exactly_once(shared, web, later_id, 3)
        assert len(frozen_tap.creates_since(thawed_s)) == 3
        assert frozen.process.poll() is None


def test_a_worker_that_is_told_to_stop_hands_its_batches_over_at_once(shared: World):
    with tapping(shared.directory, 1) as [tap]:
        web, leaving = at_once(lambda: shared.web(**SLOW), lambda: shared.worker(**SLOW))
        assert isinstance(web, Server)
        batch_id = accepted(web, 20)
        wait_until(lambda: created(web, batch_id) > 1)
        shared.worker(**SLOW, **tap.setting)

        told_s = time.monotonic()
        assert leaving.stop() == 0

        wait_until(lambda: tap.creates_s)
        assert tap.creates_since(told_s)[0] < HAND_OVER_S
        assert_exactly_once(shared, web, batch_id, 20)


def load(world: World, services: list[Server], enough: Flag) -> dict[str, int]:
    """Upload files one after the other at whoever serves until told; return id -> rows."""
    batches: dict[str, int] = {}
    while not enough.is_set():
        rows, key = 1 + len(batches) % 4, {"Idempotency-Key": str(uuid4())}

        def answered() -> str | None:
            for service in tuple(services):
                try:
                    answer = upload(service, csv_file(rows), **key, **ASYNC)  # noqa: B023
                except httpx.TransportError:
                    continue  # it may have arrived: the key tells
                if answer.is_success:
                    return str(answer.json()["batch_id"])
                assert answer.status_code == 503
            return None

        batches[wait_until(answered)] = rows
        time.sleep(0.15)  # noqa: TID251 - the pause of the client
    return batches


def test_all_processes_are_restarted_in_turn_under_load_and_nothing_is_lost(shared: World):
    kinds: list[Callable[[], Process]] = [
        lambda: shared.web(**UNPACED, run_batches="true"),
        lambda: shared.web(**UNPACED),
        lambda: shared.worker(**UNPACED),
        lambda: shared.worker(**UNPACED),
    ]
    processes = at_once(*kinds)
    services = [one for one in processes if isinstance(one, Server)]
    enough = Flag()
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(load, shared, services, enough)
        try:
            for place, kind in enumerate(kinds):
                processes[place].stop()
                processes[place] = again = kind()
                if isinstance(again, Server):
                    services[place] = again
        finally:
            enough.set()
        batches = loading.result()

    for batch_id, rows in batches.items():
        assert_exactly_once(shared, services[0], batch_id, rows)
    held = http.get(f"{shared.directory.url}/_directory/hospitals").json()
    assert len(held) == sum(batches.values())


def test_a_worker_shows_what_it_counts_on_a_port_of_its_own(shared: World):
    port = free_port()
    web, _ = at_once(
        lambda: shared.web(**UNPACED), lambda: shared.worker(**UNPACED, worker_metrics_port=port)
    )
    assert isinstance(web, Server)

    batch_id = accepted(web, 3)
    assert_exactly_once(shared, web, batch_id, 3)
    shown = series_of(http.get(f"http://127.0.0.1:{port}/metrics").text)

    assert value(shown, "creates_total", outcome="created") == 3
    assert value(shown, "batches", status="completed") == 1


@pytest.mark.parametrize("world", ["database"], indirect=True)
def test_the_directorys_budgets_are_shared_to_the_last_request(world: World):
    margin: dict[str, Any] = {"rate_limit_margin_seconds": 0.5}  # of a machine with much to do
    web, *_ = at_once(
        *[lambda: world.web(**margin, run_batches="true")] * 2,
        *[lambda: world.worker(**margin)] * 2,
    )
    assert isinstance(web, Server)
    http.delete(f"{world.directory.url}/_directory/stats")

    batch_ids = at_once(*[lambda: accepted(web, 15)] * 4)
    for batch_id in batch_ids:
        assert_exactly_once(world, web, batch_id, 15)

    stats = http.get(f"{world.directory.url}/_directory/stats").json()
    assert stats["refused"] == {}
    sent_s = stats["create_times"]
    period_s = QUICK["rate_limit_period_seconds"]
    windows = [sum(at <= other < at + period_s for other in sent_s) for at in sent_s]
    assert len(sent_s) == 60
    assert max(windows) == 30
    window_s = period_s + margin["rate_limit_margin_seconds"]
    assert sent_s[-1] - sent_s[0] < window_s + 1, "nobody waits for turns that nobody takes"
