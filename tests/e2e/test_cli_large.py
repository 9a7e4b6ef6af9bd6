"""The terminal client with files that take hours, and lists that fill no screen."""

import json
import re
import time
from pathlib import Path

import pytest

from cli import follow
from cli.display import span
from tests.e2e.scripted_service import (
    BATCH_ID,
    Act,
    Json,
    answers,
    drops,
    event,
    gone,
    progress,
    refuses,
    row,
    served,
    streams,
)
from tests.e2e.terminal import run
from tests.harness import csv_file

LARGE: Json = {"total_hospitals": 5320, "processed_hospitals": 5200, "failed_hospitals": 120}
FIRST_PAGE = [row(number, "created_and_activated") for number in range(1, 1001)]
DONE = progress("completed", *FIRST_PAGE, **LARGE)
FAILED = [row(n, "failed", error_message="Write the name in full.") for n in range(3001, 3051)]


@pytest.fixture
def large(tmp_path: Path) -> str:
    """A file that is checked before it is sent."""
    path = tmp_path / "large.csv"
    path.write_text(csv_file(400))
    return str(path)


def findings(seconds: float, *errors: Json) -> Json:
    return {
        "is_valid": not errors,
        "total_rows": 5320,
        "valid_rows": 5320 - len(errors),
        "invalid_rows": len(errors),
        "estimated_seconds": seconds,
        "errors": list(errors),
        "warnings": [],
    }


def error(number: int) -> Json:
    message = "Write the name in full."
    return {"row": number, "line": number + 1, "column": "name", "value": "X"} | {
        "error_type": "too_short",
        "message": message,
    }


def file_rejected(*errors: Json) -> Act:
    problem = {"title": "No", "status": 400, "detail": "The file has errors.", "errors": errors}
    return answers(problem, 400, "application/problem+json")


def asked(script: object) -> list[tuple[str, str]]:
    return [(method, path) for method, path, _ in script.asked]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4.4, "4 s"), (59.9, "60 s"), (61, "1 min"), (3599, "1 h 0 min"), (11_100, "3 h 5 min")],
)
def test_times_are_told_in_the_units_that_a_person_reckons_with(seconds: float, said: str):
    assert span(seconds) == said


def test_how_long_a_large_file_takes_is_told_before_it_is_sent(large: str):
    acts = (answers(findings(11_100.0)), answers(progress(**LARGE), 202))
    with served(*acts) as service:
        ended = run("upload", large, "--detach", "--json", "--url", service.url)

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith("Loading 5,320 rows takes about 3 h 5 min, longer if others")
    assert json.loads(ended.stdout)["batch_id"] == BATCH_ID
    assert [path for _, path in asked(service)] == ["/hospitals/validate", "/hospitals/bulk"]


def test_a_file_that_is_loaded_within_a_minute_is_not_announced(large: str):
    acts = (answers(findings(20.0)), answers(progress(), 202))
    with served(*acts) as service:
        ended = run("upload", large, "--detach", "--url", service.url)

    assert ended.returncode == 0, ended.stderr
    assert "takes about" not in ended.stderr


def test_a_small_file_is_sent_once(tmp_path: Path):
    small = tmp_path / "small.csv"
    small.write_text(csv_file(20))
    with served(answers(progress(), 202)) as service:
        ended = run("upload", str(small), "--detach", "--url", service.url)

    assert ended.returncode == 0, ended.stderr
    assert [path for _, path in asked(service)] == ["/hospitals/bulk"]


def test_the_check_of_a_large_file_outlasts_a_connection_that_breaks(large: str):
    acts = (drops, answers(findings(11_100.0)), answers(progress(**LARGE), 202))
    with served(*acts) as service:
        ended = run("upload", large, "--detach", "--url", service.url)

    assert ended.returncode == 0, ended.stderr
    assert "takes about 3 h 5 min" in ended.stderr


def test_a_large_file_that_the_check_refuses_is_not_sent(large: str):
    with served(refuses(413, "The file is too large.")) as service:
        ended = run("upload", large, "--json", "--url", service.url)

    assert ended.returncode == 1
    assert json.loads(ended.stdout)["status"] == 413
    assert [path for _, path in asked(service)] == ["/hospitals/validate"]


def test_the_first_of_thousands_of_errors_are_shown_and_the_others_counted(large: str):
    errors = [error(number) for number in range(1, 5001)]
    checked = answers(findings(600.0, *errors))
    with served(checked, file_rejected(*errors)) as service:
        refused = run("upload", large, "--url", service.url)
    with served(checked) as service:
        validated = run("validate", large, "--url", service.url)

    assert (refused.returncode, validated.returncode) == (1, 1)
    for said in (refused.stderr, validated.stdout):
        assert re.search(r"^ *50 +51 +name", said, re.M)
        assert not re.search(r"^ *51 +52 +name", said, re.M)
        assert "... and 4,950 more" in said
    assert "takes about" not in refused.stderr, "it is not loaded"
    assert "load the sound rows:" in refused.stderr
    assert "Loading 320 rows takes about 10 min, " in validated.stderr


@pytest.mark.parametrize("status", ["completed", "resumable"])
def test_of_a_large_batch_the_rows_that_failed_are_shown_wherever_they_stand(status: str):
    done = DONE | {"status": status}
    stream = streams(event("progress", done, "1"), event("done", done, "2"))
    page = answers(done | {"hospitals": FAILED, "offset": 0, "selected_hospitals": 120})
    with served(answers(done), stream, page) as service:
        ended = run("watch", BATCH_ID, "--url", service.url)

    assert ended.stdout.count("Write the name in full.") == 50
    assert "... and 70 more" in ended.stdout
    assert "created_and_activated" not in ended.stdout
    assert f"report {BATCH_ID} --only-failed" in ended.stderr
    assert ended.returncode == (0 if status == "completed" else 1)


def test_what_became_of_a_large_batch_is_told_although_its_failed_rows_cannot_be_had():
    stream = streams(event("done", DONE, "1"))
    with served(answers(DONE), stream, refuses(500, "Something broke.")) as service:
        ended = run("watch", BATCH_ID, "--json", "--url", service.url)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == DONE
    assert "Something broke. The rows that failed are not shown." in ended.stderr


def test_rows_beyond_the_first_page_are_not_kept():
    change = progress("processing", row(1000, "failed"), row(1001, "created"), **LARGE)

    merged = follow.merged(DONE, change)

    assert [one["row"] for one in merged["hospitals"]] == list(range(1, 1001))
    assert merged["hospitals"][-1]["status"] == "failed"


def test_an_abandon_whose_connection_broke_is_waited_for_until_the_batch_is_gone():
    stopped = progress("resumable", **LARGE)
    deleting = "being abandoned: deleting part 7 of 266"
    going_on = progress("abandoning", current_step=deleting, is_completed=True, **LARGE)
    busy = refuses(409, "The batch is being worked on: wait until it has ended.")
    with served(answers(stopped), drops, busy, answers(going_on), gone()) as service:
        ended = run("abandon", BATCH_ID, "--yes", "--json", "--url", service.url)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["deleted_hospitals"] is None
    assert "many minutes" in ended.stderr
    assert f"Still {deleting} ..." in ended.stderr


def test_an_abandon_that_stopped_is_told_as_the_service_tells_it():
    stopped = progress("resumable", **LARGE)
    cause = "Hospitals of the batch are active."
    left = progress("abandoning", failure_reason=cause, current_step="being abandoned: deleting")
    with served(answers(stopped), drops, refuses(409, cause), answers(left)) as service:
        ended = run("abandon", BATCH_ID, "--yes", "--url", service.url)

    assert ended.returncode == 1
    assert cause in ended.stderr


def test_that_a_batch_is_not_known_is_no_success_of_an_abandon_that_never_began():
    with served(answers(progress("resumable")), gone()) as service:
        ended = run("abandon", BATCH_ID, "--yes", "--url", service.url)

    assert ended.returncode == 1
    assert "There is no batch of that id" in ended.stderr


def test_a_comparison_of_a_large_batch_is_announced_and_its_differences_are_counted():
    missing = [{"row": n, "hospital_id": None, "name": f"Hospital {n}"} for n in range(1, 5321)]
    verdict = {"matches": False, "missing": missing, "surplus": [], "inactive": []}
    with served(answers(DONE), answers(verdict), answers(DONE)) as service:
        ended = run("verify", BATCH_ID, "--url", service.url)

    assert ended.returncode == 1
    assert "many minutes" in ended.stderr
    assert ended.stdout.count("missing") == 50
    assert "... and 5,270 more" in ended.stdout


def test_keeping_up_with_a_large_batch_costs_little():
    document, begun_s = DONE, time.process_time()
    for number in range(1, 20_001):
        if number % 40 == 0:  # some rows change between two events
            rows = [row(n, "created") for n in range(number - 39, number + 1)]
            document = follow.merged(document, progress("processing", *rows, **LARGE))

    assert len(document["hospitals"]) == 1000
    assert time.process_time() - begun_s < 5
