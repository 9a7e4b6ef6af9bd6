"""Finding a batch: the list, its filter, links that can be kept, the back button."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from scripts.processes import Server
from tests.browser.steps import expect_state, fault, start
from tests.e2e.conftest import World, upload, wait_until
from tests.harness import csv_file


def test_a_browser_at_the_root_comes_to_the_dashboard(page: Page):
    page.goto("/")

    expect(page).to_have_url(re.compile("/dashboard$"))
    expect(page.get_by_role("heading", name="Load a file")).to_be_visible()


def test_a_link_to_a_batch_leads_to_it_and_the_back_button_to_where_one_was(page: Page):
    page.goto("/dashboard")
    batch_id = start(page)
    expect_state(page, "Completed")

    page.go_back()
    expect(page.get_by_role("heading", name="Load a file")).to_be_focused()
    expect(page.locator("#batch")).to_be_hidden()

    page.go_forward()
    expect(page.get_by_role("heading", name="hospitals.csv")).to_be_focused()
    expect_state(page, "Completed")

    page.goto("about:blank")
    page.goto(f"/dashboard#{batch_id}")
    expect_state(page, "Completed")


@pytest.mark.parametrize("id", ["0b6a9c1e-6a3f-4c5e-9d56-0f0f6f1c2a11", "nonsense", "%E0%A4%A"])
def test_a_link_to_a_batch_that_is_no_more_says_so(page: Page, console, id: str):
    console.foresee("status of 404")

    page.goto(f"/dashboard#{id}")

    expect(page.get_by_role("heading", name="No such batch")).to_be_visible()
    expect(page.locator("#batch-about")).to_contain_text("it was cleaned up or abandoned")


def test_a_new_batch_appears_in_the_list_and_its_status_changes_by_itself(
    page: Page, service: Server, world: World
):
    page.clock.install()
    world.fault(fault("slow", seconds=60))
    page.goto("/dashboard")
    batch_id = upload(service, csv_file(4), Prefer="respond-async").json()["batch_id"]
    line = page.locator("#batches tr").filter(has=page.locator(f'a[href="#{batch_id}"]'))

    page.clock.fast_forward("00:06")
    expect(line).to_contain_text("Loading")
    world.fault()
    httpx.post(f"{service.url}/hospitals/batch/{batch_id}/cancel")


def test_the_list_can_be_narrowed_to_what_needs_somebody(page: Page, world: World):
    completed = start(page)
    expect_state(page, "Completed")
    page.goto("/dashboard")
    world.fault(fault("gateway"))
    stopped = start(page)
    expect_state(page, "Stopped")
    page.get_by_role("link", name="All batches").click()
    expect(page.locator(f'#batches a[href="#{completed}"]')).to_be_visible()

    page.get_by_label("Show", exact=True).select_option("stopped or failed")

    expect(page.locator(f'#batches a[href="#{completed}"]')).to_have_count(0)
    page.locator(f'#batches a[href="#{stopped}"]').click()
    expect_state(page, "Stopped")


def test_the_list_says_why_a_batch_stopped(page: Page, world: World):
    world.fault(fault("gateway"))
    stopped = start(page)
    expect_state(page, "Stopped")

    page.get_by_role("link", name="All batches").click()

    line = page.get_by_role("row").filter(has=page.locator(f'a[href="#{stopped}"]'))
    expect(line.locator(".why")).to_contain_text("resume the batch")


def test_older_batches_come_when_they_are_asked_for(page: Page, service: Server):
    for _ in range(21):
        upload(service, csv_file(1), Prefer="respond-async")
    page.goto("/dashboard")
    lines = page.locator("#batches tbody tr")
    expect(lines).to_have_count(20)

    page.get_by_role("button", name="Show more").click()

    wait_until(lambda: lines.count() > 20)
    expect(lines.nth(20).get_by_role("link")).to_be_focused()
