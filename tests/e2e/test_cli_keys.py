"""The terminal client of a service with keys, and uploads that are sent again."""

import json
import re
import shlex
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli import loading
from cli.client import Service
from cli.display import Display
from cli.follow import LostTouch
from scripts.processes import Server, free_port
from tests.e2e.conftest import World, http, wait_until
from tests.e2e.scripted_service import (
    BATCH_ID,
    Act,
    answers,
    drops,
    event,
    progress,
    refuses,
    row,
    served,
    streams,
)
from tests.e2e.terminal import Running, run
from tests.harness import csv_file

NORTH, ADMIN = "the-secret-of-north", "the-secret-of-the-admin"
KEYS = f"north:{NORTH},admin:{ADMIN}"
ACCEPTED = progress("processing", row(1), row(2))
DONE = progress("completed", row(1, "created_and_activated"), row(2, "created_and_activated"))
TO_THE_END = streams(event("done", DONE, "1"))


@pytest.fixture
def keyed(world: World) -> Server:
    return world.service(api_keys=KEYS)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "hospitals.csv"
    path.write_text(csv_file(3))
    return str(path)


def listed(service: Server) -> list[dict[str, Any]]:
    answer = http.get(f"{service.url}/hospitals/batches", headers={"X-API-Key": ADMIN})
    return list(answer.raise_for_status().json()["batches"])


def at(service: Server) -> tuple[str, str]:
    return "--url", service.url


def test_the_key_of_the_environment_opens_the_service_and_is_never_written(
    keyed: Server, file: str
):
    uploaded = run("upload", file, "--json", *at(keyed), HOSPITAL_BULK_KEY=f" {NORTH}\n")
    batch_id = json.loads(uploaded.stdout)["batch_id"]
    report = run("report", batch_id, *at(keyed), HOSPITAL_BULK_KEY=NORTH)
    everything = run("list", *at(keyed), HOSPITAL_BULK_KEY=ADMIN)

    assert (uploaded.returncode, report.returncode) == (0, 0), uploaded.stderr + report.stderr
    assert report.stdout.count("created_and_activated") == 3
    assert re.search(r"batch +file +owner +status", everything.stdout)
    assert re.search(r"hospitals.csv +north +completed", everything.stdout)
    for ended in (uploaded, report, everything):
        assert NORTH not in ended.stdout + ended.stderr


def test_without_a_key_it_is_told_where_to_put_one(keyed: Server, file: str):
    ended = run("upload", file, "--json", *at(keyed))

    assert ended.returncode == 1
    assert "asks for a key: put yours into the environment as HOSPITAL_BULK_KEY." in ended.stderr
    assert json.loads(ended.stdout)["type"] == "urn:hospital-bulk:problem:unauthorized"


def test_a_key_that_is_not_accepted_is_said_to_be_so_without_showing_it(keyed: Server):
    ended = run("list", *at(keyed), HOSPITAL_BULK_KEY="the-secret-of-nobody")

    assert ended.returncode == 1
    assert "does not accept the key that the environment has as HOSPITAL_BULK_KEY" in ended.stderr
    assert "the-secret-of-nobody" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("key", ["two words of it", "cl\u00e9-tr\u00e8s-secr\u00e8te"])
def test_what_cannot_be_a_key_is_wrong_usage_and_is_not_shown(key: str):
    ended = run("list", "--url", f"http://127.0.0.1:{free_port()}", HOSPITAL_BULK_KEY=key)

    assert ended.returncode == 2
    assert "HOSPITAL_BULK_KEY is no key" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert key not in ended.stdout + ended.stderr


def test_another_key_sees_no_owner_column_where_nobody_owns(world: World, file: str):
    service = world.service()
    run("upload", file, *at(service))

    assert "owner" not in run("list", *at(service)).stdout


def test_a_service_that_asks_to_wait_is_asked_again_after_that(file: str):
    busy = refuses(429, "Too many requests.", retry_after="2")
    begun_s = time.monotonic()

    with served(busy, answers(ACCEPTED, 202), TO_THE_END) as service:
        ended = run("upload", file, "--url", service.url)

    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - begun_s >= 2
    assert "Too many requests. Waiting for 2 s, as the service asks ..." in ended.stderr
    assert len({headers.get("idempotency-key") for headers in service.headers[:2]}) == 1


def test_nobody_waits_for_longer_than_a_command_may_take(file: str):
    with served(refuses(429, "Too many requests.", retry_after="86400")) as service:
        ended = run("upload", file, "--url", service.url)

    assert ended.returncode == 1
    assert "Too many requests." in ended.stderr


@pytest.mark.parametrize(
    "loss",
    [
        drops,
        answers("<html>Timeout</html>", 504, "text/html"),
        answers("half a docum", 202),
    ],
    ids=["dropped", "a gateway's", "garbled"],
)
def test_an_upload_without_an_answer_is_sent_again_under_its_name(file: str, loss: Act):
    restarting = refuses(503, "The service is shutting down.")
    replayed = answers(ACCEPTED, 202, idempotency_replayed="true")

    with served(loss, restarting, replayed, TO_THE_END) as service:
        ended = run("upload", file, "--url", service.url)

    names = [headers.get("idempotency-key") for headers in service.headers[:3]]
    assert ended.returncode == 0, ended.stderr
    assert names[0]
    assert len(set(names)) == 1
    assert "Trying again" in ended.stderr
    assert f"This upload was accepted before: its batch is {BATCH_ID}." in ended.stderr


def test_each_upload_has_a_name_of_its_own_unless_one_is_given(file: str):
    acts = [answers(ACCEPTED, 202)] * 4
    with served(*acts) as service:
        for name in ((), (), ("--idempotency-key", "mon day"), ("--idempotency-key", "mon day")):
            assert run("upload", file, "--detach", *name, "--url", service.url).returncode == 0

    first, second, *given = (headers["idempotency-key"] for headers in service.headers)
    assert first != second
    assert given == ["mon day", "mon day"]


@pytest.mark.parametrize("name", ["", " monday", "monday ", "d\u00e9but", "x" * 256, "a\nb"])
def test_a_name_that_no_header_can_carry_is_wrong_usage(file: str, name: str):
    ended = run("upload", file, "--idempotency-key", name, HOSPITAL_BULK_URL="http://127.0.0.1:9")

    assert ended.returncode == 2
    assert "up to 255 ASCII characters" in ended.stderr


def test_a_command_that_is_repeated_after_a_crash_joins_its_batch(world: World, file: str):
    world.fault({"endpoint": "create", "kind": "hang"})
    service = world.service(api_keys=KEYS, http_timeout_seconds=3600)
    command = ("upload", file, "--idempotency-key", "2026-11-24 north.csv", *at(service))
    first = run(*command, "--detach", HOSPITAL_BULK_KEY=NORTH)
    service.kill()
    world.fault()
    http.post(f"{world.directory.url}/_directory/restart", json={}).raise_for_status()
    again = world.service(api_keys=KEYS, port=int(service.url.rpartition(":")[2]))

    second = run(*command, HOSPITAL_BULK_KEY=NORTH)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    [batch] = listed(again)
    assert f"accepted before: its batch is {batch['batch_id']}" in second.stderr
    assert "accepted before" not in first.stderr
    assert batch["status"] == "completed"
    assert len(world.hospitals(batch["batch_id"])) == 3


def test_an_upload_given_up_tells_how_to_find_out_what_became_of_it(
    file: str, capsys: pytest.CaptureFixture[str]
):
    with served(*[drops] * 20) as script, closing(Service(script.url)) as service:
        display = Display(script.url)

        with pytest.raises(LostTouch, match="Whether the file was taken is not known"):
            loading.send(service, display, Path(file), name="mon day", patience_s=1.0)

    assert len(script.asked) <= 4  # at 0, 0.5 and 1.5 s
    advice = re.search(r"find out, or load it: +python -m cli (.*)", capsys.readouterr().err)
    assert advice
    assert shlex.split(advice[1])[:4] == ["upload", file, "--idempotency-key", "mon day"]


def test_an_interrupted_upload_tells_how_to_find_out_and_that_works(file: str, tmp_path: Path):
    silent = streams("{", then="silent")
    with served(silent, answers(ACCEPTED, 202, idempotency_replayed="true")) as service:
        running = Running(tmp_path, "upload", file, "--skip-invalid", "--url", service.url)
        wait_until(lambda: service.asked)

        assert running.end(signal.SIGINT) == 130

        assert "Traceback" not in running.err
        [advice] = re.findall(r"find out, or load it: +python -m cli (.*)", running.err)
        ended = run(*shlex.split(advice), "--detach")

    assert ended.returncode == 0, ended.stderr
    assert len({headers["idempotency-key"] for headers in service.headers}) == 1
    assert "--skip-invalid" in advice


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_nothing_of_an_upload_whose_answer_was_lost(file: str, status: int):
    with served(drops, refuses(status, "Not with this key.")) as service:
        ended = run("upload", file, "--url", service.url)

    assert ended.returncode == 3
    assert "Whether the file was taken is not known." in ended.stderr
    assert "--idempotency-key" in ended.stderr


def test_a_fault_of_the_file_is_told_even_after_a_lost_answer(file: str):
    with served(drops, refuses(422, "Another file was uploaded under this name.")) as service:
        ended = run("upload", file, "--url", service.url)

    assert ended.returncode == 1
    assert "Another file was uploaded under this name." in ended.stderr


def test_a_batch_whose_key_was_withdrawn_can_be_watched_again_later(file: str):
    acts = (answers(ACCEPTED, 202), streams(event("progress", ACCEPTED, "1")), refuses(401))
    with served(*acts) as service:
        ended = run("upload", file, "--url", service.url, HOSPITAL_BULK_KEY=NORTH)

    assert ended.returncode == 1
    assert "does not accept the key" in ended.stderr
    assert f"watch {BATCH_ID}" in ended.stderr
