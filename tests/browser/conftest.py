"""A real browser on the real service: Debian's chromium, driven by playwright.

One service and one directory serve all tests; the directory is quick, and a test that needs it slow
or broken says so of its own hospitals. A test fails when the browser's console has an error that it
did not announce: a broken script, or something that the page's content security policy refused.
"""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from scripts.processes import Server, start_directory
from scripts.screenshots import chromium
from tests.e2e.conftest import QUICK, World

SETTINGS = QUICK | {
    "create_rate_limit": 0,
    "directory_batch_limit": 100,
    "max_csv_size": 1100,
    "max_concurrent_requests": 40,
    "settle_seconds": 0.05,
    "wake_timeout_seconds": 1.5,
}
NO_LIMITS = ("--create-limit", "0", "--lookup-limit", "0", "--root-limit", "0")
WAIT_MS = 15_000  # a machine that does other things too

expect.set_options(timeout=WAIT_MS)


class Console:
    """What a page wrote to the browser's console, and what of it was foreseen."""

    def __init__(self) -> None:
        self._errors: list[str] = []
        self._foreseen: list[str] = []

    def listen(self, page: Page) -> None:
        page.on("console", lambda line: self._note(line.type, line.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))

    def foresee(self, pattern: str) -> None:
        """Say that errors which *pattern* matches belong to this test."""
        self._foreseen.append(pattern)

    def unforeseen(self) -> list[str]:
        return [
            error
            for error in self._errors
            if not any(re.search(pattern, error) for pattern in self._foreseen)
        ]

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self._errors.append(text)


class OwnService:
    """A service of its own, that can go away and come back on its port.

    Attributes:
        settings: It is started with these.
    """

    def __init__(self, world: World, **settings: Any) -> None:
        self.world = world
        self.settings = SETTINGS | settings
        self._running = world.service(**self.settings)
        self.url = self._running.url
        self._port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self._running.kill()

    def stop(self) -> None:
        self._running.stop()

    def start(self) -> None:
        self._running = self.world.service(port=self._port, **self.settings)

    def freeze(self) -> None:
        """Have it say nothing any more, with its connections open."""
        os.kill(self._running.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._running.process.pid, signal.SIGCONT)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        message = "no chromium: install it (apt-get install chromium), or `.ci/run` does"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    options = ("--create-seconds", "0.05", "--batch-limit", "0", *NO_LIMITS)
    directory = start_directory(tmp_path_factory.mktemp("directory"), *options)
    world = World(tmp_path_factory.mktemp("service"), directory)
    yield world
    world.end()
    directory.kill()


@pytest.fixture(scope="package")
def service(shared_world: World) -> Server:
    return shared_world.service(**SETTINGS)


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The directory, which misbehaves only as this test says."""
    yield shared_world
    shared_world.fault()


@pytest.fixture
def own_world(shared_world: World, tmp_path: Path) -> Iterator[World]:
    """The shared directory, and services that belong to this test."""
    world = World(tmp_path, shared_world.directory)
    yield world
    world.end()
    world.fault()


@pytest.fixture
def own_service(own_world: World) -> OwnService:
    return OwnService(own_world)


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def context(browser: Browser, service: Server) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=service.url, reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, console: Console, world: World) -> Iterator[Page]:
    page = context.new_page()
    console.listen(page)
    yield page
    assert console.unforeseen() == []
