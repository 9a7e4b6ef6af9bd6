"""A load that stopped half-way: what a person sees of it, and what can be done."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.steps import (
    FAULTY,
    button,
    choose,
    expect_state,
    fault,
    held,
    row,
    start,
    wait_until_held,
)
from tests.e2e.conftest import World, wait_until


@pytest.fixture
def stopped(page: Page, world: World) -> str:
    """A batch whose directory failed at row 3; its id."""
    world.fault(fault("gateway"))
    batch_id = start(page)
    expect_state(page, "Stopped")
    world.fault()
    return batch_id


@pytest.fixture
def refused(page: Page, world: World) -> str:
    """A batch whose row 3 the directory refused; its id."""
    world.fault(fault("reject"))
    batch_id = start(page)
    expect_state(page, "Failed")
    return batch_id


def test_a_batch_whose_directory_failed_says_why_and_a_resume_finishes_it(
    page: Page, world: World, stopped: str
):
    expect(page.locator("#state-reason")).to_contain_text("resume the batch")
    expect(page.locator("#state-reason")).to_contain_text("Nothing is lost")

    button(page, "Resume").click()

    expect_state(page, "Completed")
    expect(page.locator("#batch-about")).to_contain_text("resumed 1 time")
    assert len(held(world, stopped)) == 5


def test_a_running_batch_is_cancelled_and_can_be_resumed(page: Page, world: World):
    world.fault(fault("slow", seconds=1.5))  # long enough for a busy machine to cancel
    batch_id = start(page)
    expect(page.locator("#state-figures")).to_contain_text("4 of 5")

    button(page, "Cancel").click()

    expect_state(page, "Stopped")
    button(page, "Resume").click()
    expect_state(page, "Completed")
    assert len(held(world, batch_id)) == 5


def test_a_cancel_that_waits_for_the_rows_under_way_is_not_offered_again(page: Page, world: World):
    world.fault(fault("slow", seconds=60))
    start(page)
    expect(page.locator("#state-figures")).to_contain_text("4 of 5")

    button(page, "Cancel").click()

    expect(page.locator("#state-reason")).to_contain_text("Cancelled: waiting")
    expect(button(page, "Cancel")).to_have_count(0)
    expect(page.get_by_role("heading", name="hospitals.csv")).to_be_focused()


def test_abandoning_asks_first_and_no_leaves_the_batch_as_it_is(
    page: Page, world: World, stopped: str
):
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    button(page, "Abandon").click()
    question = page.get_by_role("dialog", name="Abandon hospitals.csv?")
    expect(question).to_contain_text("This cannot be undone.")
    expect(button(page, "Keep it")).to_be_focused()

    button(page, "Keep it").click()

    expect(question).to_be_hidden()
    expect(button(page, "Abandon")).to_be_focused()
    button(page, "Verify").click()
    expect(page.get_by_role("table", name="Differences")).to_be_visible()
    assert "DELETE" not in sent
    assert world.hospitals(stopped) != []


def test_an_abandoned_batch_is_gone_from_the_page_and_from_the_directory(
    page: Page, world: World, stopped: str, console
):
    console.foresee("status of 404")
    button(page, "Abandon").click()
    button(page, "Abandon the batch").click()

    expect(page.get_by_role("heading", name="Abandoned")).to_be_focused()
    expect(page.locator("#batch-about")).to_contain_text("The batch is forgotten")
    wait_until_held(world, stopped, 0)
    page.get_by_role("link", name="All batches").click()
    expect(page.locator(f'#batches a[href="#{stopped}"]')).to_have_count(0)


def test_an_abandonment_that_stopped_half_way_says_why_and_is_done_again(
    page: Page, world: World, stopped: str, console
):
    console.foresee("status of (404|503)")
    world.fault({"endpoint": "delete_batch", "kind": "gateway"})
    button(page, "Abandon").click()
    button(page, "Abandon the batch").click()
    expect_state(page, "Being abandoned")
    expect(page.locator("#action-problem")).to_contain_text("abandon the batch again later")
    world.fault()

    button(page, "Abandon").click()
    button(page, "Abandon the batch").click()

    expect(page.get_by_role("heading", name="Abandoned")).to_be_focused()
    wait_until_held(world, stopped, 0)


def test_the_rows_that_failed_are_shown_first(page: Page, refused: str):
    expect(page.locator("#rows").get_by_role("row")).to_have_count(1 + 1)
    expect(row(page, 3)).to_contain_text("Refused by the directory")

    button(page, "All 5").click()

    expect(page.locator("#rows").get_by_role("row")).to_have_count(5 + 1)


def test_while_rows_are_open_they_are_shown_beside_those_that_failed(page: Page, world: World):
    world.fault(fault("reject"), fault("gateway", "Hospital 4"))

    start(page)

    expect_state(page, "Stopped")
    expect(button(page, "Failed 1")).to_be_visible()
    expect(button(page, "All 5")).to_have_attribute("aria-pressed", "true")


def test_a_refused_row_is_corrected_and_the_resume_sends_it(page: Page, world: World, refused: str):
    button(page, "Correct row 3, Hospital 3").click()
    dialog = page.get_by_role("dialog", name="Correct row 3")
    expect(dialog).to_contain_text("Refused by the directory")
    expect(dialog.get_by_label("Name")).to_be_focused()
    dialog.get_by_label("Name").fill("Mended Hospital")
    button(page, "Save the row").click()

    expect_state(page, "Stopped")
    expect(button(page, "Resume")).to_be_focused()
    expect(row(page, 3)).to_contain_text("Mended Hospital")
    button(page, "Resume").click()

    expect_state(page, "Completed")
    assert "Mended Hospital" in held(world, refused)


def test_what_the_service_refuses_of_a_correction_stands_at_the_fields(
    page: Page, refused: str, console
):
    console.foresee("status of 422")
    button(page, "Correct row 3, Hospital 3").click()
    name = page.get_by_role("textbox", name="Name")
    phone = page.get_by_role("textbox", name="Phone")
    name.fill("")
    phone.fill("n/a")

    button(page, "Save the row").click()

    expect(name).to_be_focused()
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_accessible_description(re.compile("^Fill in the name"))
    expect(page.locator("#correction-phone-refusal")).to_contain_text("7 to 15 digits")
    expect(page.get_by_role("textbox", name="Address")).not_to_have_attribute(
        "aria-invalid", "true"
    )


def test_a_skipped_row_is_corrected_in_a_batch_that_has_not_completed(page: Page, world: World):
    world.fault(fault("gateway", "Castle Moor Infirmary"))
    choose(page, FAULTY)
    button(page, "Load the 1 sound row, leave out 2").click()
    expect_state(page, "Stopped")
    world.fault()

    button(page, "Correct row 1, A").click()
    page.get_by_role("textbox", name="Name").fill("Alder Hospital")
    button(page, "Save the row").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    button(page, "Resume").click()

    expect_state(page, "Completed")
    assert held(world, page.url.rpartition("#")[2]) == ["Alder Hospital", "Castle Moor Infirmary"]


def test_verify_shows_what_is_missing_inactive_and_surplus(page: Page, world: World, stopped: str):
    button(page, "Verify").click()

    expect(page.get_by_role("heading", name="Compared with the directory")).to_be_visible()
    expect(page.locator("#verification")).to_contain_text("is completed: resume it.")
    differences = page.get_by_role("table", name="Differences")
    expect(differences.get_by_role("row").filter(has_text="Missing")).to_contain_text("Hospital 3")
    assert world.hospitals(stopped) != []


def test_verify_of_a_completed_batch_says_that_all_is_as_in_the_file(page: Page):
    start(page)
    expect_state(page, "Completed")

    button(page, "Verify").click()

    expect(page.locator("#verification")).to_contain_text(
        "The directory has each row of the file, once, active."
    )
    expect(page.locator("#verification")).not_to_contain_text("inactive")


def downloaded(page: Page, name: str, folder: Path) -> list[dict[str, str]]:
    """Press a button; return the lines of the file that comes."""
    with page.expect_download() as download:
        button(page, name).click()
    batch_id = page.url.rpartition("#")[2]
    assert download.value.suggested_filename.startswith(f"hospitals-{batch_id[:8]}")
    download.value.save_as(folder / name)
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_report_of_a_batch_is_downloaded(page: Page, refused: str, tmp_path: Path):
    report = downloaded(page, "Download the report", tmp_path)

    assert [line["row"] for line in report] == list("12345")


def test_the_rows_that_stayed_out_of_a_completed_batch_are_downloaded(page: Page, tmp_path: Path):
    choose(page, FAULTY)
    button(page, "Load the 1 sound row, leave out 2").click()
    expect_state(page, "Completed")

    failed = downloaded(page, "Download the failed rows", tmp_path)

    assert [line["name"] for line in failed] == ["A", "Beacon Hill Hospital"]


def test_failed_rows_that_a_resume_would_send_are_not_offered_as_a_new_file(
    page: Page, refused: str
):
    expect(button(page, "Correct row 3, Hospital 3")).to_be_visible()

    expect(button(page, "Download the failed rows")).to_have_count(0)


def test_what_cannot_be_done_is_told_in_the_services_words(page: Page, stopped: str, console):
    console.foresee("status of 503")
    page.route(
        "**/hospitals/resume/**",
        lambda route: route.fulfill(
            status=503,
            content_type="application/problem+json",
            json={"detail": "200 batches have not ended yet: try again when some have."},
        ),
    )

    button(page, "Resume").click()

    expect(page.locator("#action-problem")).to_have_text(
        "200 batches have not ended yet: try again when some have."
    )
    expect_state(page, "Stopped")


def test_an_action_that_did_not_reach_the_service_says_that_it_is_not_known_to_be_done(
    page: Page, stopped: str, console
):
    console.foresee("ERR_FAILED")
    page.route("**/hospitals/resume/**", lambda route: route.abort())

    button(page, "Resume").click()

    expect(page.locator("#action-problem")).to_contain_text("Whether it was done shows once")
    expect_state(page, "Stopped")


def test_of_an_action_whose_answer_was_lost_the_page_finds_out_what_became(
    page: Page, stopped: str, console
):
    console.foresee("ERR_FAILED")

    def carried_out_and_lost(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/hospitals/resume/**", carried_out_and_lost)

    button(page, "Resume").click()

    expect_state(page, "Completed")
    expect(page.locator("#action-problem")).to_be_empty()


def test_an_error_goes_when_the_batch_has_come_to_another_state(page: Page, stopped: str, console):
    console.foresee("status of 503")
    page.route("**/verify", lambda route: route.fulfill(status=503, json={"detail": "It is down."}))
    button(page, "Verify").click()
    expect(page.locator("#action-problem")).to_have_text("It is down.")

    page.evaluate(f"fetch('/hospitals/resume/{stopped}', {{ method: 'POST' }})")  # elsewhere
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect_state(page, "Completed")
    expect(page.locator("#action-problem")).to_be_empty()


def test_a_late_error_of_what_can_no_longer_be_done_is_not_told(
    page: Page, world: World, stopped: str, console
):
    console.foresee("status of 503")
    held_back: list[Route] = []
    page.route("**/verify", lambda route: held_back.append(route))
    verify = button(page, "Verify").element_handle()
    verify.click()
    wait_until(lambda: verify.get_attribute("aria-busy") == "true" and len(held_back) == 1)
    world.fault(fault("slow", seconds=60))
    button(page, "Resume").click()
    expect_state(page, "Loading")

    held_back[0].fulfill(status=503, json={"detail": "It is down."})

    wait_until(lambda: verify.get_attribute("aria-busy") == "false")
    expect_state(page, "Loading")
    expect(page.locator("#action-problem")).to_be_empty()
