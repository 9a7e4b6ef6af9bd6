"""What the page says while the service is away, and how it goes on."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Console, OwnService
from tests.browser.steps import button, expect_state, fault, held, row, start
from tests.harness import csv_file

LOST = "Connection lost"


@pytest.fixture
def page(browser: Browser, own_service: OwnService, console: Console) -> Iterator[Page]:
    console.foresee("ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE")
    console.foresee("ERR_INCOMPLETE_CHUNKED_ENCODING")
    context = browser.new_context(base_url=own_service.url)
    page = context.new_page()
    console.listen(page)
    yield page
    context.close()
    assert console.unforeseen() == []


def test_a_restart_under_an_open_page_is_told_and_the_page_goes_on_by_itself(
    page: Page, own_service: OwnService
):
    known: list[str | None] = []
    page.on("request", lambda request: known.append(request.headers.get("last-event-id")))
    own_service.world.fault(fault("slow", seconds=30))
    batch_id = start(page)
    expect(page.locator("#state-figures")).to_contain_text("4 of 5")

    own_service.kill()
    expect(page.get_by_role("alert").filter(has_text=LOST)).to_contain_text(
        re.compile(r"Last heard from the service at \d+:\d\d:\d\d.*may be old")
    )
    expect(row(page, 1)).to_contain_text("Created")
    own_service.world.fault()
    own_service.start()

    expect_state(page, "Completed")
    expect(page.get_by_text(LOST)).to_have_count(0)
    assert len(held(own_service.world, batch_id)) == 5
    assert any(known), "a reconnect says which event it saw last"


def test_the_list_says_that_the_connection_is_lost_and_keeps_what_it_showed(
    page: Page, own_service: OwnService
):
    start(page)
    expect_state(page, "Completed")
    page.goto("/dashboard")
    expect(page.locator("#batches tbody tr")).to_have_count(1)
    own_service.stop()

    page.get_by_label("Show", exact=True).select_option("completed")

    expect(page.get_by_text(LOST)).to_be_visible()
    expect(page.locator("#batches tbody tr")).to_have_count(1)
    own_service.start()
    expect(page.get_by_text(LOST)).to_have_count(0)


def test_who_does_not_want_to_wait_has_it_tried_now(page: Page, own_service: OwnService):
    page.clock.install(time=0)
    page.goto("/dashboard")
    own_service.stop()
    page.get_by_label("Show", exact=True).select_option("completed")
    expect(page.get_by_text(LOST)).to_be_visible()
    page.clock.pause_at(3600)
    own_service.start()
    expect(page.get_by_text(LOST)).to_be_visible()

    button(page, "Try now").click()

    expect(page.get_by_text(LOST)).to_have_count(0)


def test_a_service_that_says_nothing_any_more_counts_as_lost(page: Page, own_service: OwnService):
    own_service.world.fault(fault("slow", seconds=30))
    page.clock.install()
    start(page)
    expect(page.locator("#state-figures")).to_contain_text("4 of 5")

    own_service.freeze()
    page.clock.fast_forward("00:41")

    expect(page.get_by_text(LOST)).to_be_visible()
    own_service.thaw()
    expect(page.get_by_text(LOST)).to_have_count(0)
    expect(page.locator("#state-figures")).to_contain_text("4 of 5")


def test_pauses_between_the_attempts_grow(page: Page):
    page.goto("/dashboard")

    pauses = page.evaluate(
        """async () => {
            const { backoff } = await import("/dashboard/connection.js");
            return [0, 1, 2, 3, 4, 5, 6, 20].map(backoff);
        }"""
    )

    assert pauses[0] < 500
    assert sorted(pauses[:6]) == pauses[:6]
    assert 10_000 < pauses[-1] < 20_000


def test_a_batch_that_was_abandoned_elsewhere_is_said_to_be_gone(
    page: Page, own_service: OwnService, console: Console
):
    console.foresee("status of 404")
    own_service.world.fault(fault("gateway"))
    batch_id = start(page)
    expect_state(page, "Stopped")
    address = f"{own_service.url}/hospitals/batch/{batch_id}/abandon"
    assert httpx.delete(address, timeout=60).status_code == 200

    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect(page.get_by_role("heading", name="No such batch")).to_be_visible()


def test_a_batch_that_was_resumed_elsewhere_shows_it_when_one_comes_back_to_the_page(
    page: Page, own_service: OwnService
):
    own_service.world.fault(fault("gateway"))
    batch_id = start(page, csv_file(4))
    expect_state(page, "Stopped")
    own_service.world.fault()
    httpx.post(f"{own_service.url}/hospitals/resume/{batch_id}", timeout=60)

    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect_state(page, "Completed")
