"""Following a batch over a network and a service that misbehave."""

import re
import time
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from cli import client
from cli.client import Refused, Service
from cli.follow import LostTouch, follow
from scripts.processes import free_port
from tests.e2e.scripted_service import (
    BATCH_ID,
    Act,
    Json,
    answers,
    event,
    gone,
    nothing_new,
    progress,
    refuses,
    row,
    served,
    streams,
)
from tests.e2e.terminal import run, run_on_a_terminal

BEGUN = progress("processing", row(1), row(2))
FIRST_CREATED = progress("processing", row(1, "created")) | {"processed_hospitals": 1}
DONE = progress("completed", row(1, "created_and_activated"), row(2, "created_and_activated"))
TO_THE_END = streams(event("progress", BEGUN, "7"), event("done", DONE, "8"))


class Followed:
    """What following a script showed."""

    def __init__(self, *acts: Act, patience_s: float = 60.0) -> None:
        self.shown: list[Json] = []
        self.told: list[str] = []
        with served(*acts) as self.script, closing(Service(self.script.url)) as service:
            for document in follow(service, BATCH_ID, self.told.append, patience_s):
                self.shown.append(document)

    @property
    def last(self) -> Json:
        return self.shown[-1]


def test_changed_rows_are_merged_into_the_document():
    followed = Followed(
        streams(
            event("progress", BEGUN, "1"),
            event("rows", FIRST_CREATED, "2"),
            event("rows", progress("activating", processed_hospitals=1), "3"),
            event("done", DONE, "4"),
        )
    )

    states = [[r["status"] for r in shown["hospitals"]] for shown in followed.shown]
    assert states[1] == states[2] == ["created", "pending"]
    assert [shown["status"] for shown in followed.shown][2:] == ["activating", "completed"]
    assert followed.told == []


def test_comments_and_events_of_a_later_version_are_passed_over():
    chunks = (": awake\n\n", event("progress", BEGUN, "1"), ": awake\n\n")
    followed = Followed(
        streams(*chunks, event("weather", {"sun": True}, "2"), event("done", DONE, "3"))
    )

    assert [shown["status"] for shown in followed.shown] == ["processing", "completed"]


def test_a_stream_that_breaks_in_the_middle_of_an_event_is_taken_up_after_the_last_whole_one():
    half = event("done", DONE, "6")[:-20]
    followed = Followed(streams(event("progress", BEGUN, "5"), half, then="breaks"), TO_THE_END)

    assert [asked[2] for asked in followed.script.asked] == [None, "5"]
    assert [shown["status"] for shown in followed.shown] == [
        "processing",
        *["processing"],
        "completed",
    ]
    assert "broke off" in followed.told[0]
    assert followed.told[1] == "Connected again."


def test_a_half_event_at_the_end_of_a_stream_that_ended_well_is_not_shown():
    half = event("done", DONE, "6")[:-1]
    followed = Followed(streams(event("progress", BEGUN, "5"), half), answers(BEGUN), TO_THE_END)

    assert [shown["status"] for shown in followed.shown][:2] == ["processing", "processing"]
    assert len(followed.script.asked) == 3


def test_no_news_after_the_end_was_told_are_settled_by_the_progress():
    followed = Followed(
        streams(event("progress", BEGUN, "5"), then="breaks"), nothing_new, answers(DONE)
    )

    assert followed.last == DONE


def test_a_stream_that_ends_when_the_batch_has_ended_is_not_opened_again():
    followed = Followed(streams(event("progress", BEGUN, "5")), answers(DONE))

    assert followed.last == DONE
    assert followed.told == []


def test_a_batch_that_was_abandoned_meanwhile_is_told_as_gone():
    with pytest.raises(Refused, match="cleaned up or abandoned") as refused:
        Followed(streams(event("progress", BEGUN, "5")), gone())

    assert refused.value.status == 404


def test_gateways_that_answer_for_a_service_that_restarts_are_waited_out():
    followed = Followed(
        answers("<html>Bad gateway</html>", 502, "text/html"),
        answers({"message": "No route"}, 404),
        TO_THE_END,
    )

    assert followed.last == DONE
    assert "does not look like the service (502 with text/html)" in followed.told[0]
    assert len(followed.told) == 2, "one outage is told once"


def test_a_page_in_the_place_of_the_stream_is_not_taken_for_one():
    followed = Followed(answers("<html>Hello</html>", 200, "text/html"), TO_THE_END)

    assert followed.last == DONE
    assert "does not look like the service" in followed.told[0]


def test_a_service_that_is_stopping_is_waited_out():
    problem = {"title": "The service is shutting down", "status": 503, "detail": "Stopping."}
    followed = Followed(answers(problem, 503, "application/problem+json"), TO_THE_END)

    assert followed.last == DONE


def test_a_service_that_asks_to_wait_is_asked_again_no_sooner():
    begun_s = time.monotonic()

    followed = Followed(refuses(429, "Too many.", retry_after="2"), TO_THE_END)

    assert followed.last == DONE
    assert followed.told[0].startswith("Too many.")
    assert time.monotonic() - begun_s >= 2


def test_events_that_are_no_json_are_as_good_as_a_broken_connection():
    followed = Followed(streams('event: done\ndata: {"status": "comp\nid: 9\n\n'), TO_THE_END)

    assert followed.last == DONE


def test_a_stream_that_falls_silent_is_opened_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "STREAM", httpx.Timeout(0.3, connect=5.0))

    followed = Followed(streams(event("progress", BEGUN, "5"), then="silent"), TO_THE_END)

    assert followed.last == DONE
    assert "silent" in followed.told[0]


def test_a_service_that_comes_up_again_on_its_port_is_found():
    port = free_port()
    told: list[str] = []

    with ExitStack() as stack:

        def tell(message: str) -> None:
            if not told:
                stack.enter_context(served(TO_THE_END, port=port))
            told.append(message)

        service = stack.enter_context(closing(Service(f"http://127.0.0.1:{port}")))
        shown = list(follow(service, BATCH_ID, tell))

    assert shown[-1] == DONE
    assert "cannot be reached" in told[0]


def test_following_is_given_up_after_a_long_time_and_never_taken_for_success():
    told: list[str] = []

    with (
        closing(Service(f"http://127.0.0.1:{free_port()}")) as nobody,
        pytest.raises(LostTouch, match="not known"),
    ):
        list(follow(nobody, BATCH_ID, told.append, patience_s=1.0))

    assert len(told) == 1


def test_a_service_that_never_streams_is_not_hammered():
    bad_gateway = answers("<html>", 502, "text/html")
    acts = [bad_gateway] * 50

    with (
        served(*acts) as script,
        closing(Service(script.url)) as service,
        pytest.raises(LostTouch),
    ):
        list(follow(service, BATCH_ID, lambda _: None, patience_s=2.0))

    # At 0, 0.5, 1.5 and 3.5 s.
    assert len(script.asked) <= 4


def test_a_service_that_answers_but_does_not_stream_is_not_given_up():
    cycles = [nothing_new, answers(BEGUN)] * 3  # at 0, 0.5 and 1.5 s
    followed = Followed(*cycles, TO_THE_END, patience_s=1.0)

    assert followed.last == DONE


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "two.csv"
    path.write_text("name,address\nAlder House,1 Alder Lane\n")
    return str(path)


def test_an_upload_that_never_left_is_not_told_as_uncertain(file: str):
    ended = run("upload", file, "--url", f"http://127.0.0.1:{free_port()}")

    assert ended.returncode == 3
    assert "cannot be reached" in ended.stderr
    assert "accepted" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_names_from_a_file_are_neither_markup_nor_control_sequences(file: str):
    evil = "[red]A[/red] \x1b]0;owned\x07\x1b[2J\u202eB\r\n:smile: \x9bC"
    done = progress("completed", row(1, "created_and_activated", name=evil), row(2, "created"))
    stream = streams(event("progress", done, "1"), event("done", done, "2"))

    with served(answers(done, 202), stream) as service:
        ended = run("upload", file, "--url", service.url)

    assert r"[red]A[/red] \x1b]0;owned\x07\x1b[2J\u202eB\r\n:smile: \x9bC" in ended.stdout
    assert not set("\x1b\x07\x9b\u202e\r") & set(ended.stdout + ended.stderr)


def test_a_batch_that_ended_otherwise_than_completed_is_no_success(file: str):
    abandoning = progress("abandoning", row(1), row(2))

    with served(answers(BEGUN, 202), streams(event("done", abandoning, "1"))) as service:
        ended = run("upload", file, "--url", service.url)

    assert ended.returncode == 1


@pytest.mark.parametrize("columns", [80, 40])
def test_the_bar_tells_the_counts_the_time_and_the_step_on_narrow_terminals(
    file: str, columns: int
):
    step = "waiting for the directory to answer"
    waiting = progress(
        "processing",
        row(1),
        current_step=step,
        total_hospitals=20000,
        failed_hospitals=250,
        eta_seconds=4000.0,
    )

    with served(answers(waiting, 202), streams(event("progress", waiting, "1")), gone()) as service:
        status, written = run_on_a_terminal("upload", file, "--url", service.url, columns=columns)

    said = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).split())
    assert status == 1
    assert "0 of 20,000 created, 250 failed" in said
    assert re.search(r"about 1 h [67] min left", said)
    assert step in said
