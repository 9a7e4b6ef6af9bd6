"""From choosing a file to a batch that is completed."""

import re

from playwright.sync_api import Browser, Page, expect

from scripts.processes import Server
from tests.browser.steps import (
    FAULTY,
    button,
    choose,
    expect_state,
    fault,
    held,
    pass_time,
    row,
    start,
)
from tests.e2e.conftest import World
from tests.harness import csv_file


def test_a_sound_file_is_checked_at_once_loaded_and_ends_completed(page: Page, world: World):
    choose(page, csv_file(20), "twenty.csv")

    expect(page.get_by_role("heading", name="twenty.csv")).to_be_visible()
    expect(page.locator("#checked")).to_contain_text("20 rows, no errors.")
    assert world.hospitals("") == []

    batch_id = start(page, csv_file(20), "twenty.csv")

    expect(page.get_by_role("heading", name="twenty.csv")).to_be_visible()
    expect_state(page, "Completed")
    expect(page.locator("#state-figures")).to_contain_text("20 of 20")
    expect(page.locator("#rows").get_by_role("row")).to_have_count(20 + 1)
    expect(page.locator("#rows").get_by_text("Active", exact=True)).to_have_count(20)
    expect(page).to_have_title(re.compile("^Completed · twenty.csv"))
    assert len(held(world, batch_id)) == 20


def test_rows_and_figures_move_while_the_batch_runs(page: Page, world: World):
    world.fault(fault("slow", seconds=60))

    start(page, csv_file(4))

    expect(page.locator("#state-figures")).to_contain_text("3 of 4")
    expect(row(page, 1)).to_contain_text("Created")
    expect(row(page, 3)).to_contain_text("Being created")
    assert page.get_by_role("progressbar").evaluate("bar => bar.value") == 0.75
    expect(page).to_have_title(re.compile("^75 %"))


def test_time_taken_goes_on_between_the_events(page: Page, world: World):
    world.fault(fault("slow", seconds=60))
    page.clock.install()
    start(page, csv_file(4))
    expect(page.locator("#state-figures")).to_contain_text("3 of 4")

    page.clock.fast_forward("10:00")

    expect(page.locator("#state-figures")).to_contain_text("10 min")


def test_a_step_tells_times_as_the_readers_clock_does(browser: Browser, service: Server):
    context = browser.new_context(timezone_id="Asia/Kolkata", locale="en-GB")
    page = context.new_page()
    page.goto(f"{service.url}/dashboard")

    step = page.evaluate(
        """async () => {
            const { inLocalTime } = await import("/dashboard/words.js");
            return inLocalTime("rate window, which opens at 18:20:39 UTC; rows to send: 3");
        }"""
    )

    assert step == "rate window, which opens at 23:50:39; rows to send: 3"
    context.close()


def test_errors_stand_beside_the_rows_they_belong_to(page: Page):
    choose(page, FAULTY, "faulty.csv")

    errors = page.get_by_role("table", name="Errors of the file")
    expect(errors.get_by_role("row")).to_have_count(2 + 1)
    cells = errors.get_by_role("row").nth(2).get_by_role("cell")
    expect(cells).to_have_text(
        ["2", "3", "phone", "n/a", re.compile("^Write the phone as 7 to 15")]
    )
    expect(page.locator("#checked")).to_contain_text("2 errors in 2 of 3 rows. Nothing was sent.")
    expect(page.locator("#checked")).to_contain_text("Mend the file and choose it again, or load")


def test_the_sound_rows_of_a_file_with_errors_are_loaded_without_the_others(
    page: Page, world: World
):
    choose(page, FAULTY, "faulty.csv")

    button(page, "Load the 1 sound row, leave out 2").click()

    expect_state(page, "Completed")
    expect(page.locator("#state-reason")).to_contain_text("2 rows of the file stayed out")
    expect(page.locator("#rows").get_by_text("Failed", exact=True)).to_have_count(2)
    expect(row(page, 2)).to_contain_text("phone")
    assert held(world, page.url.rpartition("#")[2]) == ["Castle Moor Infirmary"]


def test_a_file_that_is_wrong_as_a_whole_cannot_be_started(page: Page):
    choose(page, "title,street\nA Hospital,1 Main Street\n")

    errors = page.get_by_role("table", name="Errors of the file")
    expect(errors).to_contain_text("whole file")
    expect(page.locator("#checked")).to_contain_text("Mend the file and choose it again.")
    expect(page.get_by_role("button", name=re.compile("^Load"))).to_have_count(0)


def test_warnings_are_shown_and_do_not_stand_in_the_way(page: Page):
    twice = csv_file(1) + csv_file(1).partition("\n")[2]

    choose(page, twice)

    expect(page.get_by_role("heading", name="1 warning")).to_be_visible()
    expect(button(page, "Load 2 rows")).to_be_visible()


def test_what_is_no_csv_file_is_refused_with_the_services_own_words(page: Page, console):
    console.foresee("status of 415")
    page.goto("/dashboard")
    photo = {"name": "photo.png", "mimeType": "image/png", "buffer": b"\x89PNG"}

    page.get_by_label("Choose a file").set_input_files(photo)  # type: ignore[arg-type]

    expect(page.locator("#checked")).to_contain_text("Send a CSV file: a name that ends in .csv")


def test_a_file_can_be_dropped_anywhere_and_the_browser_does_not_open_it(page: Page):
    page.goto("/dashboard")

    is_opened = page.evaluate(
        """content => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([content], "dropped.csv", { type: "text/csv" }));
            const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer });
            return document.getElementById("batches-heading").dispatchEvent(drop);
        }""",
        csv_file(2),
    )

    assert not is_opened
    expect(page.get_by_role("heading", name="dropped.csv")).to_be_visible()
    expect(button(page, "Load 2 rows")).to_be_visible()


def test_names_and_values_are_text_whatever_they_hold(page: Page):
    name = "<img src=x onerror=alert(1)>"

    start(page, f'name,address,phone\n{name},"1 <b>Main</b> Street",\n', f"{name}.csv")

    expect_state(page, "Completed")
    expect(row(page, 1)).to_contain_text(name)
    expect(page.get_by_role("heading", name=f"{name}.csv")).to_be_visible()
    assert page.locator("main img").count() == 0


def test_a_start_that_did_not_arrive_is_sent_again_for_as_long_as_it_takes(page: Page, console):
    console.foresee("ERR_FAILED")
    choose(page, csv_file(2))
    page.route("**/hospitals/bulk", lambda route: route.abort())

    button(page, "Load 2 rows").click()

    expect(page.get_by_role("alert").filter(has_text="sent again by itself")).to_be_visible()
    expect(page.locator("#start")).to_have_attribute("aria-busy", "true")
    page.unroute_all()
    expect_state(page, "Completed")


def test_who_chooses_another_file_has_the_one_before_sent_no_more(page: Page, console):
    console.foresee("ERR_FAILED")
    page.clock.install()
    choose(page, csv_file(2))
    sent: list[str] = []
    page.route("**/hospitals/bulk", lambda route: (sent.append(""), route.abort()))  # type: ignore[func-returns-value]
    button(page, "Load 2 rows").click()
    expect(page.get_by_role("alert").filter(has_text="sent again by itself")).to_be_visible()

    choose(page, csv_file(3))
    expect(button(page, "Load 3 rows")).to_be_visible()
    before = len(sent)
    pass_time(page, "05:00")

    expect(page.locator("#start-problem")).to_be_empty()
    assert len(sent) == before


def test_a_service_without_keys_asks_for_none(page: Page):
    start(page)

    expect_state(page, "Completed")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#key-control")).to_be_hidden()
    expect(page.locator("#batch-about")).not_to_contain_text("by ")


def test_a_file_that_could_not_be_checked_is_checked_again_with_one_press(page: Page, console):
    console.foresee("ERR_FAILED")
    page.goto("/dashboard")
    page.route("**/hospitals/validate", lambda route: route.abort())
    choose(page, csv_file(2))
    expect(page.locator("#checked")).to_contain_text("The service cannot be reached.")
    page.unroute_all()

    button(page, "Check again").click()

    expect(button(page, "Load 2 rows")).to_be_visible()
