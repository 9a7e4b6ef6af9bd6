"""What a person does on the dashboard, for tests that are about something else."""

import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.e2e.conftest import World, wait_until
from tests.harness import csv_file

FAULTY = (
    "name,address,phone\n"
    'A,"12 Alder Lane, Leeds",0113 496 0142\n'
    'Beacon Hill Hospital,"88 Beacon Hill, Birmingham",n/a\n'
    'Castle Moor Infirmary,"Castle Moor, Edinburgh",\n'
)


def fault(kind: str, name: str | None = "Hospital 3", **rule: Any) -> dict[str, Any]:
    """Return a rule for the directory: what it does to creates of one hospital, or of all."""
    return {"endpoint": "create", "kind": kind, "name": name} | rule


def choose(page: Page, content: str, name: str = "hospitals.csv") -> None:
    """Open the dashboard if it is not open, and choose a file."""
    if not page.url.endswith("/dashboard"):
        page.goto("/dashboard")
    file = {"name": name, "mimeType": "text/csv", "buffer": content.encode()}
    page.get_by_label("Choose a file").set_input_files(file)  # type: ignore[arg-type]


def start(page: Page, content: str | None = None, name: str = "hospitals.csv") -> str:
    """Choose a file, load it, and return the batch's id once its page is shown."""
    choose(page, content or csv_file(5), name)
    page.get_by_role("button", name=re.compile("^Load")).click()
    page.wait_for_url(re.compile(r"#[0-9a-f-]{36}$"))
    return page.url.rpartition("#")[2]


def expect_state(page: Page, word: str) -> None:
    """Wait until the batch that is shown has come to a state."""
    expect(page.locator("#state-word")).to_have_text(word)


def row(page: Page, number: int) -> Any:
    """Return the line of one row of the batch that is shown."""
    # The first cell alone: the directory's id of another row may be the same number.
    first_cell = page.locator(f"xpath=./*[1][normalize-space()='{number}']")
    return page.locator("#rows").get_by_role("row").filter(has=first_cell)


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def held(world: World, batch_id: str) -> list[str]:
    """Return the names of the batch's active hospitals in the directory."""
    return sorted(hospital["name"] for hospital in world.hospitals(batch_id) if hospital["active"])


def wait_until_held(world: World, batch_id: str, count: int) -> None:
    wait_until(lambda: len(world.hospitals(batch_id)) == count)


def pass_time(page: Page, duration: str) -> None:
    """Let time pass on the page's clock; what the page asked for meanwhile has been sent then."""
    page.clock.fast_forward(duration)
    page.evaluate("async () => { await fetch('health'); }")
