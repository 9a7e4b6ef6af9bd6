"""Files of more rows than one looks at: pages, what failed of them, how long they take."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OwnService
from tests.browser.steps import button, choose, expect_state, fault, row, start
from tests.e2e.conftest import World
from tests.harness import csv_file

SOUND = csv_file(20)
BAD_ROW = 'A Hospital,"1 Main Street",n/a\n'


def expect_rows(page: Page, place: str, count: int) -> None:
    """Wait until a page of the rows is shown, and nothing but it."""
    expect(page.locator("#pager-place")).to_have_text(place)
    expect(page.locator("#rows tbody tr")).to_have_count(count)


def go_to_row(page: Page, number: int) -> None:
    page.get_by_label("Row", exact=True).fill(str(number))
    button(page, "Go").click()


@pytest.fixture
def completed(page: Page) -> str:
    """A batch of 250 rows; its id."""
    batch_id = start(page, csv_file(250))
    expect_state(page, "Completed")
    return batch_id


@pytest.fixture
def mostly_failed(page: Page) -> str:
    """A batch of 20 created rows and 130 that were left out; its id."""
    choose(page, SOUND + BAD_ROW * 130)
    button(page, "Load the 20 sound rows, leave out 130").click()
    expect_state(page, "Completed")
    return page.url.rpartition("#")[2]


def test_a_short_file_needs_no_pages(page: Page):
    batch_id = start(page, csv_file(100))

    expect_state(page, "Completed")
    expect(page.locator("#rows tbody tr")).to_have_count(100)
    expect(page.locator("#pager")).to_be_hidden()
    button(page, "Open 0").click()
    expect(page.locator("#rows-note")).to_have_text("No row is open.")
    assert page.url.endswith(f"#{batch_id}")


def test_a_long_file_is_shown_in_pages(page: Page, completed: str):
    expect_rows(page, "Rows 1 to 100 of 250", 100)
    expect(button(page, "First")).to_have_attribute("aria-disabled", "true")
    expect(button(page, "Previous")).to_have_attribute("aria-disabled", "true")

    button(page, "Last").click()
    expect_rows(page, "Rows 201 to 250 of 250", 50)
    expect(row(page, 250)).to_contain_text("Hospital 250")
    expect(button(page, "Next")).to_have_attribute("aria-disabled", "true")

    button(page, "Previous").click()
    expect_rows(page, "Rows 101 to 200 of 250", 100)
    button(page, "First").click()
    expect_rows(page, "Rows 1 to 100 of 250", 100)
    button(page, "Next").click()
    expect_rows(page, "Rows 101 to 200 of 250", 100)


def test_one_goes_to_a_row_by_its_number_and_a_link_leads_to_the_same_page(
    page: Page, completed: str
):
    go_to_row(page, 204)

    expect_rows(page, "Rows 201 to 250 of 250", 50)
    expect(row(page, 204)).to_be_focused()
    assert page.url.endswith(f"#{completed}/all/201")
    page.reload()
    expect_rows(page, "Rows 201 to 250 of 250", 50)
    page.go_back()
    expect(page.get_by_role("heading", name="Load a file")).to_be_visible()


def test_there_is_no_going_to_a_row_that_the_file_does_not_have(page: Page, completed: str):
    go_to_row(page, 251)

    assert page.get_by_label("Row", exact=True).evaluate("input => input.validity.rangeOverflow")
    expect_rows(page, "Rows 1 to 100 of 250", 100)


def test_the_page_that_is_shown_follows_the_batch(page: Page, world: World):
    world.fault(fault("gateway"))
    start(page, csv_file(250))
    expect_state(page, "Stopped")
    button(page, "Last").click()
    expect(row(page, 250)).to_contain_text("Waiting")
    world.fault(fault("slow", seconds=60))

    button(page, "Resume").click()

    expect(row(page, 250)).to_contain_text("Created")
    expect_state(page, "Loading")
    expect_rows(page, "Rows 201 to 250 of 250", 50)


def test_a_page_that_the_events_do_not_hold_follows_the_batch_to_its_end(page: Page, world: World):
    world.fault(fault("gateway"))
    batch_id = start(page, csv_file(1100))
    expect_state(page, "Stopped")
    go_to_row(page, 1100)
    expect_rows(page, "Rows 1,001 to 1,100 of 1,100", 100)
    world.fault()

    page.evaluate(f"fetch('/hospitals/resume/{batch_id}', {{ method: 'POST' }})")  # elsewhere
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect_state(page, "Completed")
    expect(page.locator("#rows").get_by_text("Active", exact=True)).to_have_count(100)
    expect_rows(page, "Rows 1,001 to 1,100 of 1,100", 100)


def test_the_rows_that_failed_are_shown_first_and_in_pages(page: Page, mostly_failed: str):
    expect_rows(page, "Failed rows 1 to 100 of 130", 100)
    button(page, "Next").click()

    expect_rows(page, "Failed rows 101 to 130 of 130", 30)
    expect(row(page, 150)).to_contain_text("Failed")
    button(page, "All 150").click()
    expect_rows(page, "Rows 1 to 100 of 150", 100)
    expect(row(page, 1)).to_contain_text("Active")
    button(page, "Failed 130").click()
    expect_rows(page, "Failed rows 1 to 100 of 130", 100)


def test_from_the_rows_that_failed_one_goes_to_any_row_of_the_file(page: Page, mostly_failed: str):
    go_to_row(page, 7)

    expect_rows(page, "Rows 1 to 100 of 150", 100)
    expect(row(page, 7)).to_be_focused()
    expect(button(page, "All 150")).to_have_attribute("aria-pressed", "true")


def test_a_link_to_a_page_that_is_no_more_leads_to_the_last_one(page: Page):
    choose(page, csv_file(150) + BAD_ROW * 3)
    button(page, "Load the 150 sound rows, leave out 3").click()
    expect_state(page, "Completed")
    batch_id = page.url.rpartition("#")[2]

    page.goto("/dashboard")
    page.goto(f"/dashboard#{batch_id}/failed/101")

    expect_rows(page, "Failed rows 1 to 3 of 3", 3)


def test_a_row_that_fails_while_one_looks_at_those_that_failed_joins_them(page: Page, world: World):
    world.fault(fault("gateway"))
    start(page, csv_file(250))
    expect_state(page, "Stopped")
    button(page, "Failed 0").click()
    expect(page.locator("#rows-note")).to_have_text("No row has failed.")
    late = fault("error_before", "Hospital 250", times=2)  # looked up before it is sent again
    world.fault(fault("slow", seconds=60), late, fault("reject", "Hospital 250"))

    button(page, "Resume").click()

    expect_rows(page, "Failed rows 1 to 1 of 1", 1)
    expect(row(page, 250)).to_contain_text("Refused by the directory")
    expect_state(page, "Loading")


def test_a_page_that_did_not_come_comes_when_the_service_answers_again(
    page: Page, completed: str, console
):
    console.foresee("ERR_FAILED")
    page.route(re.compile(r"/hospitals/progress/[^/]*\?"), lambda route: route.abort())
    button(page, "Next").click()
    expect(page.get_by_role("alert").filter(has_text="Connection lost")).to_be_visible()
    expect_rows(page, "Rows 1 to 100 of 250", 100)

    page.unroute_all()

    expect_rows(page, "Rows 101 to 200 of 250", 100)
    expect(page.locator("#connection")).to_be_empty()


def test_of_two_pages_the_one_that_was_wanted_last_is_shown(page: Page, completed: str):
    held_back: list[Route] = []
    page.route(re.compile(r"offset=100"), lambda route: held_back.append(route))
    button(page, "Next").click()

    button(page, "Last").click()

    expect_rows(page, "Rows 201 to 250 of 250", 50)
    held_back[0].continue_()
    page.evaluate("async () => { await fetch('health'); }")  # the late answer has had its time
    expect_rows(page, "Rows 201 to 250 of 250", 50)


def test_how_long_a_large_file_takes_is_told_before_it_is_loaded_and_while_it_is(
    page: Page, own_world: World
):
    own = OwnService(own_world, create_rate_limit=1, rate_limit_period_seconds=60)
    page.goto(f"{own.url}/dashboard")
    choose(page, csv_file(100))

    expect(page.locator("#estimate")).to_contain_text(
        re.compile(r"^Loading 100 rows takes about 1 hour 4[05] minutes,")
    )
    expect(page.locator("#announcer")).to_contain_text("takes about 1 hour")
    button(page, "Load 100 rows").click()
    expect(page.locator("#state-figures")).to_contain_text(
        re.compile(r"Time leftabout 1 hour \d+ minutes")
    )
    own.stop()


def test_of_a_file_that_is_loaded_at_once_no_time_is_told(page: Page):
    choose(page, csv_file(20))

    expect(button(page, "Load 20 rows")).to_be_visible()
    expect(page.locator("#estimate")).to_have_count(0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (61, "2 minutes"),
        (3599, "1 hour"),
        (3600, "1 hour"),
        (3601, "1 hour 5 minutes"),
        (11_100, "3 hours 5 minutes"),
        (200_000, "55 hours 35 minutes"),
    ],
)
def test_a_long_time_is_told_in_hours_and_minutes(page: Page, seconds: int, words: str):
    page.goto("/dashboard")

    told = page.evaluate(
        """async seconds => (await import("/dashboard/words.js")).roughly(seconds)""", seconds
    )

    assert told == words


def test_of_many_errors_the_first_are_shown_and_all_can_be_had(page: Page, tmp_path: Path):
    choose(page, SOUND + BAD_ROW * 150)

    errors = page.get_by_role("table", name="Errors of the file")
    expect(errors.locator("tbody tr")).to_have_count(100)
    expect(page.locator("#checked")).to_contain_text(
        "The first 100 of 150 errors are shown, leaving out 50."
    )
    with page.expect_download() as download:
        button(page, "Download all errors (JSON)").click()
    download.value.save_as(tmp_path / "errors.json")
    found = json.loads((tmp_path / "errors.json").read_text())
    assert [error["row"] for error in found] == list(range(21, 171))
