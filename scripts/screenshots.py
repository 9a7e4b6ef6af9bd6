"""Makes the pictures of the dashboard in docs/: `python -m scripts.screenshots [FOLDER]`.

The service and a local directory run as processes of their own and load sample_hospitals.csv, whose
hospitals are fictitious. Needs chromium and requirements-dev.txt.
"""

import re
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright

from scripts.processes import ROOT, start_directory, start_service

SAMPLE = ROOT / "sample_hospitals.csv"
NO_LIMITS = ("--create-limit", "0", "--lookup-limit", "0", "--root-limit", "0")
FAULTS = "/_directory/faults"
BREAKS = {"endpoint": "create", "kind": "error_before", "name": "Ivy House Hospice"}


def chromium() -> str | None:
    """Return where Debian's chromium is, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def main(folder: Path) -> None:
    """Write dashboard-light.png and dashboard-dark-narrow.png into *folder*."""
    path = chromium()
    if path is None:
        sys.exit("no chromium: install it (apt-get install chromium)")
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory = start_directory(place, "--create-seconds", "1", *NO_LIMITS)
        stack.callback(directory.kill)
        settings: dict[str, Any] = {
            "create_rate_limit": 0,
            "max_concurrent_requests": 4,
            "settle_seconds": 0.1,
        }
        service = start_service(place, directory.url, **settings)
        stack.callback(service.kill)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])

        page = _opened(browser, service.url, "light", 1280, 900)
        expect(page.locator("#state-figures")).to_contain_text("12 of 20")
        page.screenshot(path=folder / "dashboard-light.png")

        httpx.put(directory.url + FAULTS, json=[BREAKS]).raise_for_status()
        page = _opened(browser, service.url, "dark", 390, 844)
        expect(page.locator("#state-word")).to_have_text("Stopped", timeout=120_000)
        page.screenshot(path=folder / "dashboard-dark-narrow.png")
        browser.close()


def _opened(browser: Browser, url: str, scheme: str, width: int, height: int) -> Page:
    """Return a page that follows a new batch with the sample."""
    viewport = {"width": width, "height": height}
    options = {"color_scheme": scheme, "viewport": viewport, "reduced_motion": "reduce"}
    page = browser.new_page(**options)  # type: ignore[arg-type]
    page.goto(f"{url}/dashboard")
    page.get_by_label("Choose a file").set_input_files(SAMPLE)
    page.get_by_role("button", name=re.compile("^Load")).click()
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
