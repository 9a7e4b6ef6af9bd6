"""The page by keyboard, for a screen reader, on a telephone, in light and dark."""

import re
from collections import Counter
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.browser.steps import FAULTY, button, choose, expect_state, fault, held, row, start
from tests.e2e.conftest import World, wait_until
from tests.harness import csv_file

WIDE, NARROW, NARROWEST = 1280, 390, 320


def expect_accessible(page: Page) -> None:
    """Have axe look at the page as it is now: light and dark, wide and narrow."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width in (WIDE, NARROWEST):
            page.set_viewport_size({"width": width, "height": 800})
            found = Axe().run(page)
            assert found.violations_count == 0, f"{scheme}, {width}: {found.generate_report()}"
    expect_no_sideways_scrolling(page)


def expect_no_sideways_scrolling(page: Page) -> None:
    for width in (NARROWEST, NARROW):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def box(element: Locator) -> FloatRect:
    """Return where an element stands, in pixels; one that is being drawn anew is waited for."""
    found: FloatRect = wait_until(element.bounding_box)
    return found


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until *wanted* has the focus."""
    for _ in range(30):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no Tab leads to {wanted}")


def test_the_page_without_a_file_and_without_batches_is_accessible(page: Page):
    page.goto("/dashboard")
    page.get_by_label("Show", exact=True).select_option("being abandoned")
    expect(page.locator("#batches-note")).to_have_text("There is no batch of that status.")

    expect_accessible(page)


def test_a_file_with_errors_and_warnings_is_accessible(page: Page):
    long_word = "x" * 300
    choose(page, FAULTY + f'{long_word},"1 Main Street",\n', f"{long_word}.csv")
    expect(page.get_by_role("table", name="Errors of the file")).to_be_visible()

    expect_accessible(page)


def test_a_sound_file_is_accessible(page: Page):
    choose(page, csv_file(20))
    page.get_by_text("The first 5 rows").click()

    expect_accessible(page)


def test_a_running_batch_is_accessible(page: Page, world: World):
    world.fault(fault("slow", seconds=60))
    long_name = "x" * 250
    start(page, csv_file(4) + f"{long_name},1 Main Street,\n", f"{long_name}.csv")
    expect(page.locator("#state-figures")).to_contain_text("4 of 5")

    expect_accessible(page)


def test_a_batch_that_failed_and_the_dialogs_are_accessible(page: Page, world: World, console):
    console.foresee("status of 422")
    world.fault(fault("reject"))
    start(page)
    expect_state(page, "Failed")
    expect_accessible(page)

    button(page, "Abandon").click()
    expect_accessible(page)
    button(page, "Keep it").click()

    button(page, "Correct row 3, Hospital 3").click()
    page.get_by_role("textbox", name="Name").fill("")
    button(page, "Save the row").click()
    expect(page.locator("#correction-name-refusal")).not_to_be_empty()
    expect_accessible(page)


def test_a_stopped_and_a_verified_batch_are_accessible(page: Page, world: World):
    world.fault(fault("gateway"))
    start(page, csv_file(45))
    expect_state(page, "Stopped")
    expect(page.locator("#rows").get_by_text("Waiting").first).to_be_visible()
    button(page, "Verify").click()
    expect(page.get_by_role("table", name="Differences")).to_be_visible()
    expect_accessible(page)

    world.fault()
    button(page, "Resume").click()
    expect_state(page, "Completed")
    expect(page.locator("#verification")).to_be_hidden()
    expect_accessible(page)


def test_a_batch_in_pages_is_accessible(page: Page, world: World):
    world.fault(fault("gateway", "Hospital 140"))
    start(page, csv_file(150))
    expect_state(page, "Stopped")
    page.get_by_label("Row", exact=True).fill("140")
    page.keyboard.press("Enter")
    expect(row(page, 140)).to_be_focused()

    expect_accessible(page)


def test_a_file_with_more_errors_than_are_shown_is_accessible(page: Page):
    choose(page, "name,address,phone\n" + 'A Hospital,"1 Main Street",n/a\n' * 120)
    expect(page.get_by_role("table", name="Errors of the file")).to_be_visible()

    expect_accessible(page)


def test_a_lost_connection_is_accessible(page: Page, console):
    console.foresee("ERR_FAILED")
    page.goto("/dashboard")
    page.route("**/hospitals/**", lambda route: route.abort())
    page.get_by_label("Show", exact=True).select_option("completed")
    expect(page.get_by_role("alert").filter(has_text="Connection lost")).to_be_visible()

    expect_accessible(page)


def test_a_file_is_loaded_and_verified_without_a_mouse(page: Page, world: World):
    file: Any = {"name": "hospitals.csv", "mimeType": "text/csv", "buffer": csv_file(3).encode()}
    # Before the page is opened: chromium must have heard of it before the key is pressed.
    page.on("filechooser", lambda chooser: chooser.set_files(file))
    page.goto("/dashboard")
    tab_to(page, page.get_by_label("Choose a file"))
    page.keyboard.press("Enter")
    expect(button(page, "Load 3 rows")).to_be_visible()

    tab_to(page, button(page, "Load 3 rows"))
    page.keyboard.press("Enter")

    expect_state(page, "Completed")
    expect(page.get_by_role("heading", name="hospitals.csv")).to_be_focused()
    tab_to(page, button(page, "Verify"))
    page.keyboard.press("Space")
    expect(page.locator("#verification")).to_contain_text("each row of the file, once, active")
    assert len(held(world, page.url.rpartition("#")[2])) == 3
    tab_to(page, button(page, "Failed 0"))
    page.keyboard.press("Enter")
    expect(page.locator("#rows-note")).to_have_text("No row has failed.")


def test_a_question_is_answered_without_a_mouse_and_escape_means_no(page: Page, world: World):
    world.fault(fault("gateway"))
    start(page)
    expect_state(page, "Stopped")
    tab_to(page, button(page, "Abandon"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()

    page.keyboard.press("Escape")

    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(button(page, "Abandon")).to_be_focused()
    expect_state(page, "Stopped")


def test_a_screen_reader_hears_the_states_and_the_quarters_and_not_each_row(
    page: Page, world: World
):
    world.fault(*(fault("slow", f"Hospital {n}", seconds=n * 0.12) for n in range(1, 21)))
    page.goto("/dashboard")
    page.evaluate(
        """() => {
            window.heard = [];
            const announcer = document.getElementById("announcer");
            new MutationObserver(() => heard.push(announcer.textContent))
                .observe(announcer, { childList: true });
        }"""
    )

    start(page, csv_file(20))
    expect_state(page, "Completed")

    heard = page.evaluate("heard")
    assert heard[0] == "hospitals.csv: 20 rows, no errors."
    assert heard[-1] == "Completed: 20 of 20 rows created."
    assert 5 <= len(heard) <= 9
    assert page.locator("#rows [aria-live], #rows [role=status]").count() == 0


def test_pages_are_turned_without_a_mouse_and_only_what_was_asked_for_is_read_out(page: Page):
    start(page, csv_file(250))
    expect_state(page, "Completed")
    announcer = page.locator("#announcer")
    expect(announcer).to_have_text("Completed: 250 of 250 rows created.")

    tab_to(page, button(page, "Next"))
    page.keyboard.press("Enter")
    expect(announcer).to_have_text("Rows 101 to 200 of 250")
    page.keyboard.press("Enter")
    expect(announcer).to_have_text("Rows 201 to 250 of 250")

    expect(button(page, "Next")).to_be_focused()
    expect(button(page, "Next")).to_have_attribute("aria-disabled", "true")
    assert page.locator("#rows-section [aria-live], #rows-section [role=status]").count() == 0


def test_a_status_is_told_by_a_word_and_not_by_colour_alone(page: Page):
    start(page)
    expect_state(page, "Completed")

    for badge in page.locator(".badge").all():
        assert re.fullmatch(r"\w[\w ]+", badge.inner_text())


def test_a_table_stays_a_table_for_a_screen_reader_when_its_rows_are_shown_as_cards(page: Page):
    page.set_viewport_size({"width": NARROWEST, "height": 800})
    start(page, csv_file(3))
    expect_state(page, "Completed")

    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")

    roles = Counter(node["role"]["value"] for node in tree["nodes"] if not node["ignored"])
    assert (roles["table"], roles["row"]) == (1, 3)
    assert roles["cell"] + roles["gridcell"] >= 3 * 5


def test_a_large_batch_needs_no_sideways_scrolling(page: Page, world: World):
    world.fault(fault("gateway"))
    start(page, csv_file(300))
    expect_state(page, "Stopped")

    expect_no_sideways_scrolling(page)


def test_in_a_card_the_time_of_a_row_is_not_printed_over_its_note(page: Page, world: World):
    world.fault(fault("reject"))
    page.set_viewport_size({"width": NARROW, "height": 800})
    start(page)
    expect_state(page, "Failed")

    time = box(row(page, 3).locator('[data-label="Time"]'))
    note = box(row(page, 3).locator('[data-label="Note"]'))

    assert time["y"] + time["height"] <= note["y"]
    assert time["x"] + time["width"] <= note["x"] + note["width"]


def test_a_button_in_a_table_keeps_its_distance_from_the_text(page: Page, world: World):
    page.set_viewport_size({"width": WIDE, "height": 800})
    world.fault(fault("reject"))
    start(page, 'name,address,phone\nHospital 3,"1 Main Street",\n')
    expect_state(page, "Failed")
    cell = row(page, 1).locator('[data-label="Note"]')
    correct = cell.get_by_role("button")
    expect(correct).to_be_visible()
    note = cell.locator("> *").first

    assert box(note)["x"] + box(note)["width"] + 8 <= box(correct)["x"]
    page.set_viewport_size({"width": NARROW, "height": 800})
    assert box(note)["y"] + box(note)["height"] + 4 <= box(correct)["y"]
