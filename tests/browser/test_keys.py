"""The dashboard of a service that asks for keys."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

from tests.browser.conftest import WAIT_MS, Console, OwnService
from tests.browser.steps import button, choose, expect_state, fault, held, pass_time, start
from tests.browser.test_accessibility import expect_accessible
from tests.e2e.conftest import World
from tests.harness import csv_file

NORTH, SOUTH, ADMIN = "the-secret-of-north", "the-secret-of-south", "the-secret-of-the-admin"
KEYS = f"north:{NORTH},south:{SOUTH},admin:{ADMIN}"
NEW = "another-secret-of-north"


@pytest.fixture
def own_service(own_world: World) -> OwnService:
    return OwnService(own_world, api_keys=KEYS)


@pytest.fixture
def context(
    browser: Browser, own_service: OwnService, console: Console
) -> Iterator[BrowserContext]:
    console.foresee("status of 401")
    console.foresee("ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_FAILED")
    console.foresee("ERR_INCOMPLETE_CHUNKED_ENCODING")
    context = browser.new_context(base_url=own_service.url, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, console: Console) -> Iterator[Page]:
    """A page whose addresses, storage and console never have a secret."""
    page = context.new_page()
    console.listen(page)
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.on("console", lambda line: addresses.append(line.text))
    yield page
    kept = page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
    everything = " ".join([*addresses, kept, page.content()])
    assert not any(secret in everything for secret in (NORTH, SOUTH, ADMIN, NEW))
    assert console.unforeseen() == []


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name="A key is needed")


def enter(page: Page, secret: str) -> None:
    dialog(page).get_by_label("Key").fill(secret)
    button(page, "Use this key").click()


def come_in(page: Page, secret: str = NORTH) -> None:
    page.goto("/dashboard")
    enter(page, secret)
    expect(dialog(page)).to_be_hidden()


def batches(service: OwnService, secret: str = ADMIN) -> list[dict[str, Any]]:
    answer = httpx.get(f"{service.url}/hospitals/batches", headers={"X-API-Key": secret})
    return list(answer.raise_for_status().json()["batches"])


def restart_with_a_new_key(service: OwnService) -> None:
    service.kill()
    service.settings |= {"api_keys": f"north:{NEW},admin:{ADMIN}"}
    service.start()


def test_who_comes_is_asked_for_a_key_and_then_sees_what_it_opens(page: Page):
    page.goto("/dashboard")
    expect(dialog(page).get_by_label("Key")).to_be_focused()
    expect(dialog(page).get_by_label("Key")).to_have_attribute("type", "password")
    expect(dialog(page)).to_have_accessible_description(re.compile("Whoever runs it has one"))

    page.keyboard.type(NORTH)
    page.keyboard.press("Enter")

    expect(dialog(page)).to_be_hidden()
    expect(page.locator("#batches-note")).to_contain_text("There are none yet")
    start(page)
    expect_state(page, "Completed")
    expect(page.locator("#batch-about")).to_contain_text("by north")


@pytest.mark.parametrize("wrong", ["not-a-key-of-anybody", "", "the\u2013secret", "a secret"])
def test_a_key_that_is_not_accepted_is_said_to_be_so_and_another_can_be_entered(
    page: Page, wrong: str
):
    page.goto("/dashboard")

    enter(page, wrong)

    expect(dialog(page).get_by_role("alert")).to_contain_text("does not accept this key")
    expect(dialog(page).get_by_label("Key")).to_have_attribute("aria-invalid", "true")
    enter(page, NORTH)
    expect(dialog(page)).to_be_hidden()
    expect(page.locator("#batches-note")).to_contain_text("There are none yet")


def test_a_key_that_cannot_be_tried_is_not_said_to_be_wrong(page: Page, own_service: OwnService):
    page.goto("/dashboard")
    expect(dialog(page)).to_be_visible()
    own_service.stop()

    enter(page, NORTH)

    expect(dialog(page).get_by_role("alert")).to_contain_text("try again in a moment")
    own_service.start()
    button(page, "Use this key").click()
    expect(dialog(page)).to_be_hidden()


def test_the_dialog_is_accessible_with_and_without_an_error(page: Page):
    page.goto("/dashboard")
    expect(dialog(page)).to_be_visible()
    expect_accessible(page)

    enter(page, "not-a-key-of-anybody")
    expect(dialog(page).get_by_role("alert")).not_to_be_empty()
    expect_accessible(page)

    page.keyboard.press("Escape")
    expect(button(page, "Enter the key")).to_be_visible()
    expect_accessible(page)


def test_a_reload_keeps_the_key_and_another_tab_asks(page: Page, context: BrowserContext):
    come_in(page)
    start(page)

    page.reload()
    expect_state(page, "Completed")
    expect(dialog(page)).to_be_hidden()
    page.get_by_role("link", name="All batches").click()
    with context.expect_page() as opened:
        page.locator("#batches").get_by_role("link").click(modifiers=["Control"])
    expect(dialog(opened.value)).to_be_visible()
    other = context.new_page()
    other.goto("/dashboard")
    expect(dialog(other)).to_be_visible()


def test_a_key_can_be_forgotten_and_what_it_showed_goes_with_it(page: Page):
    come_in(page)
    batch_id = start(page)
    expect_state(page, "Completed")

    button(page, "Forget the key").click()

    expect(dialog(page)).to_be_visible()
    assert "Hospital 1" not in page.content()
    page.reload()
    expect(dialog(page)).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    assert page.url.endswith(batch_id)


def test_who_closes_the_dialog_is_not_asked_again_until_something_is_wanted(
    page: Page, console: Console
):
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/dashboard")
    expect(dialog(page)).to_be_visible()
    page.keyboard.press("Escape")
    before = [address for address in asked if "/hospitals/" in address]

    pass_time(page, "10:00")

    expect(dialog(page)).to_be_hidden()
    assert [address for address in asked if "/hospitals/" in address] == before
    choose(page, csv_file(3))
    expect(dialog(page)).to_be_visible()
    button(page, "Not now").click()
    expect(page.locator("#checked")).to_contain_text("needs a key")
    button(page, "Enter the key").click()
    enter(page, NORTH)
    expect(page.locator("#batches-note")).to_contain_text("There are none yet")
    button(page, "Check again").click()
    expect(button(page, "Load 3 rows")).to_be_visible()


def test_a_file_that_is_checked_when_the_key_is_asked_for_is_checked_with_it(page: Page):
    choose(page, csv_file(3))

    enter(page, NORTH)

    expect(button(page, "Load 3 rows")).to_be_visible()
    expect(page.locator("#batches-note")).to_contain_text("There are none yet")


def test_a_file_whose_key_was_replaced_before_the_start_is_loaded_once_with_the_new_one(
    page: Page, own_service: OwnService
):
    come_in(page)
    choose(page, csv_file(3))
    expect(button(page, "Load 3 rows")).to_be_visible()
    restart_with_a_new_key(own_service)

    button(page, "Load 3 rows").click()
    expect(dialog(page)).to_have_accessible_description(re.compile("not valid any more"))
    enter(page, NEW)

    expect_state(page, "Completed")
    assert len(batches(own_service)) == 1


def test_a_batch_is_followed_to_its_end_over_a_restart_with_other_keys(
    page: Page, own_service: OwnService
):
    known: list[tuple[str | None, str | None]] = []
    page.on(
        "request",
        lambda request: known.append(
            (request.headers.get("x-api-key"), request.headers.get("last-event-id"))
        ),
    )
    come_in(page)
    own_service.world.fault(fault("slow", seconds=60))
    batch_id = start(page)
    expect(page.locator("#state-figures")).to_contain_text("4 of 5")

    restart_with_a_new_key(own_service)
    expect(dialog(page)).to_be_visible()
    expect(page.locator("#state-figures")).to_contain_text("4 of 5")
    own_service.world.fault()
    enter(page, NEW)

    expect_state(page, "Completed")
    assert len(held(own_service.world, batch_id)) == 5
    assert any(key == NEW and last_event_id for key, last_event_id in known)


def test_a_restart_with_the_same_keys_asks_nobody(page: Page, own_service: OwnService):
    come_in(page)
    own_service.world.fault(fault("slow", seconds=60))
    start(page)
    expect(page.locator("#state-figures")).to_contain_text("4 of 5")

    own_service.kill()
    own_service.world.fault()
    own_service.start()

    expect_state(page, "Completed")
    expect(dialog(page)).to_be_hidden()


def test_a_correction_under_way_is_not_lost_when_the_key_is_replaced(
    page: Page, own_service: OwnService, console: Console
):
    come_in(page)
    own_service.world.fault(fault("reject"))
    batch_id = start(page)
    expect_state(page, "Failed")
    button(page, "Correct row 3, Hospital 3").click()
    page.get_by_role("textbox", name="Name").fill("Alder House")
    own_service.world.fault()
    restart_with_a_new_key(own_service)

    button(page, "Save the row").click()
    enter(page, NEW)

    button(page, "Resume").click()
    expect_state(page, "Completed")
    assert "Alder House" in held(own_service.world, batch_id)


def test_the_report_is_downloaded_with_the_key(page: Page):
    come_in(page)
    start(page, csv_file(2))
    expect_state(page, "Completed")

    with page.expect_download() as download:
        button(page, "Download the report").click()

    content = download.value.path().read_text()
    assert content.count("created_and_activated") == 2


def test_each_sees_its_own_batches_and_an_admin_sees_whose_they_are(
    page: Page, context: BrowserContext, console: Console
):
    console.foresee("status of 404")
    come_in(page)
    start(page)
    expect_state(page, "Completed")
    other, admin = context.new_page(), context.new_page()

    come_in(other, SOUTH)
    come_in(admin, ADMIN)

    expect(other.locator("#batches-note")).to_contain_text("There are none yet")
    expect(admin.locator("#batches tbody tr")).to_have_count(1)
    expect(admin.locator("#batches tbody tr")).to_contain_text("by north")
    other.goto(page.url)
    expect(other.get_by_role("heading", name="No such batch")).to_be_visible()


class LostAnswers:
    """Uploads arrive, and their answers are lost on the way back; their names are kept."""

    def __init__(self, page: Page, losses: int, status: int | None = None) -> None:
        self.names: list[str | None] = []
        self._losses = losses
        self._status = status
        page.route("**/hospitals/bulk", self._carry)

    def _carry(self, route: Route) -> None:
        self.names.append(route.request.headers.get("idempotency-key"))
        answer = route.fetch()
        if len(self.names) > self._losses:
            route.fulfill(response=answer)
        elif self._status is None:
            route.abort()
        else:
            route.fulfill(status=self._status, body="<html>Bad gateway</html>")


@pytest.mark.parametrize("status", [None, 502], ids=["broken off", "a gateway's answer"])
def test_an_upload_whose_answer_is_lost_is_sent_again_and_becomes_one_batch(
    page: Page, own_service: OwnService, console: Console, status: int | None
):
    console.foresee("status of 502")
    page.add_init_script("delete Crypto.prototype.randomUUID")  # as on a page without TLS
    come_in(page)
    lost = LostAnswers(page, losses=2, status=status)

    batch_id = start(page, csv_file(5))

    expect_state(page, "Completed")
    assert [batch["batch_id"] for batch in batches(own_service)] == [batch_id]
    assert len(held(own_service.world, batch_id)) == 5
    assert len(lost.names) == 3
    assert len(set(lost.names)) == 1
    page.unroute_all()
    again = LostAnswers(page, losses=0)
    page.get_by_role("link", name="All batches").click()
    assert start(page, csv_file(5)) != batch_id, "who presses anew wants a batch anew"
    assert again.names != lost.names[:1]


def test_an_upload_whose_answer_a_killed_service_never_gave_becomes_one_batch(
    page: Page, own_service: OwnService
):
    come_in(page)
    choose(page, csv_file(3))
    killed: list[bool] = []

    def carry(route: Route) -> None:
        if not killed:
            route.fetch()
            own_service.kill()
            killed.append(True)
        route.continue_()

    page.route("**/hospitals/bulk", carry)
    button(page, "Load 3 rows").click()
    expect(page.get_by_role("alert").filter(has_text="sent again by itself")).to_be_visible()
    own_service.start()

    expect_state(page, "Completed")
    assert len(batches(own_service)) == 1


def test_an_upload_in_doubt_is_not_sent_under_another_key(page: Page, own_service: OwnService):
    come_in(page)
    choose(page, csv_file(3))
    sent: list[str] = []

    def carry(route: Route) -> None:
        sent.append(route.request.url)
        if len(sent) > 1:
            route.fulfill(status=401, json={})
        else:
            route.fetch()
            route.abort()

    page.route("**/hospitals/bulk", carry)
    button(page, "Load 3 rows").click()

    expect(page.get_by_role("alert").filter(has_text="is not known")).to_be_visible()
    assert len(sent) == 2
    assert len(batches(own_service)) == 1


def test_a_service_that_asks_to_wait_is_asked_again_after_that_and_the_page_says_so(
    page: Page, console: Console
):
    console.foresee("status of 429")
    come_in(page)
    page.clock.install()
    busy = {"status": 429, "headers": {"Retry-After": "600"}, "json": {"detail": "Too many."}}
    asked: list[str] = []

    def carry(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(**busy)  # type: ignore[arg-type]

    page.route("**/hospitals/batches?**status=completed", carry)

    page.get_by_label("Show", exact=True).select_option("completed")

    expect(page.get_by_text("The service asks to wait.")).to_be_visible()
    expect_accessible(page)
    pass_time(page, "05:00")
    assert len(asked) == 1
    page.unroute_all()
    pass_time(page, "05:00")
    expect(page.get_by_text("The service asks to wait.")).to_have_count(0)
    expect(page.locator("#batches-note")).to_contain_text("no batch of that status")


def test_a_stream_that_has_to_wait_goes_on_by_itself(page: Page, console: Console):
    console.foresee("status of 429")
    come_in(page)
    asked: list[str] = []

    def carry(route: Route) -> None:
        asked.append("")
        if len(asked) > 1:
            route.continue_()
        else:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"detail": "Too many."})

    page.route("**/events", carry)
    start(page)

    expect_state(page, "Completed")
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("status", "said"),
    [(429, "Enough for now. It asks to wait 2 min 0 s first."), (403, "Enough for now.")],
)
def test_what_somebody_may_not_do_now_is_told_in_words(
    page: Page, console: Console, own_service: OwnService, status: int, said: str
):
    console.foresee(f"status of {status}")
    come_in(page)
    choose(page, csv_file(3))
    refusal = {"status": status, "headers": {"Retry-After": "120"}}
    detail = {"detail": "Enough for now."}
    page.route("**/hospitals/bulk", lambda route: route.fulfill(**refusal, json=detail))

    button(page, "Load 3 rows").click()

    expect(page.locator("#start-problem")).to_have_text(said)
    page.unroute_all()
    button(page, "Load 3 rows").click()
    expect_state(page, "Completed")
    assert len(batches(own_service)) == 1
