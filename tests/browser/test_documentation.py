"""The pages /docs and /redoc, in a real browser: complete, and of this service alone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from scripts.processes import Server
from tests.browser.conftest import SETTINGS
from tests.e2e.conftest import World, http

KEY = "a-key-for-the-browser"


@pytest.fixture
def requests(page: Page) -> list[Request]:
    """Everything that the page asks for; a refused request is asked for too."""
    seen: list[Request] = []
    page.on("request", lambda request: seen.append(request))
    return seen


@pytest.fixture
def with_keys(shared_world: World, tmp_path: Path) -> Iterator[Server]:
    world = World(tmp_path, shared_world.directory)
    yield world.service(**SETTINGS, api_keys=f"browser:{KEY}")
    world.end()


def assert_own(requests: list[Request], service: Server) -> None:
    """Check that no other host was asked, and that nothing was missing."""
    others = {r.url for r in requests} - {
        r.url for r in requests if r.url.startswith(("data:", "blob:", service.url))
    }
    assert others == set()
    assert [r.url for r in requests if r.failure] == []


def summaries(service: Server) -> list[str]:
    document = http.get(f"{service.url}/openapi.json").json()
    return [one["summary"] for path in document["paths"].values() for one in path.values()]


def test_swagger_ui_shows_every_operation_and_asks_no_other_host(
    page: Page, requests: list[Request], service: Server
):
    page.goto("/docs")

    for summary in summaries(service):
        expect(page.get_by_text(summary, exact=True).first).to_be_visible()
    assert_own(requests, service)


def test_swagger_ui_opens_operations_and_shapes(
    page: Page, requests: list[Request], service: Server
):
    page.goto("/docs")
    page.get_by_text("Load a file", exact=True).click()

    expect(page.get_by_text("Load the sound rows of a file that has others too")).to_be_visible()
    expect(page.get_by_text("urn:hospital-bulk:problem:file-rejected").first).to_be_visible()
    assert_own(requests, service)


def test_the_service_can_be_tried_out(page: Page, requests: list[Request], service: Server):
    page.goto("/docs")
    page.get_by_text("Whether the process serves", exact=True).click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()

    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(page.locator(".live-responses-table")).to_contain_text("healthy")
    assert_own(requests, service)


def test_a_key_is_typed_in_once_and_forgotten_with_the_page(page: Page, with_keys: Server):
    page.goto(f"{with_keys.url}/docs")
    page.get_by_role("button", name="Authorize").click()
    dialog = page.locator(".modal-ux")
    dialog.locator("input").first.fill(KEY)
    dialog.get_by_role("button", name=re.compile("^Apply|^Authorize")).first.click()
    dialog.get_by_role("button", name="Close").last.click()
    page.get_by_text("List the batches that a resume can finish", exact=True).click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")

    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert KEY not in kept


def test_redoc_shows_every_operation_and_asks_no_other_host(
    page: Page, requests: list[Request], service: Server
):
    page.goto("/redoc")

    for summary in summaries(service):
        expect(page.locator(".api-content h2", has_text=summary).first).to_be_visible()
    assert_own(requests, service)


def test_redoc_is_laid_out(page: Page):
    """Its styles come through a script: refused, everything would stand in one column."""
    page.goto("/redoc")
    menu = page.locator(".menu-content").bounding_box()
    content = page.locator(".api-content").bounding_box()

    assert menu is not None
    assert content is not None
    assert menu["x"] + menu["width"] <= content["x"] + 1
    assert page.get_by_alt_text("redocly logo").count() == 0
