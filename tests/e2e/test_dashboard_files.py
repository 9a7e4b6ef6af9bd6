"""The dashboard's page and files, as a browser gets them."""

from pathlib import Path

import pytest

from scripts.processes import ROOT, Server, start_service
from tests.e2e.conftest import INSTANT, http

FILES = sorted(path.name for path in (ROOT / "routers" / "static" / "dashboard").iterdir())
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
def service(instant_directory: Server, tmp_path_factory: pytest.TempPathFactory):
    service = start_service(tmp_path_factory.mktemp("dashboard"), instant_directory.url, **INSTANT)
    yield service
    service.kill()


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "application/json;q=0.9, text/*"])
def test_who_prefers_html_is_sent_from_the_root_to_the_dashboard(service: Server, accept: str):
    answer = http.get(service.url, headers={"Accept": accept})

    assert (answer.status_code, answer.headers["Location"]) == (307, "/dashboard")
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "", "text/html;q=0.1, */*", "text/html; q=0, */*", ";;q=x,,"],
)
def test_everybody_else_gets_json_at_the_root(service: Server, accept: str):
    answer = http.get(service.url, headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer.json()["links"]["dashboard"] == "/dashboard"
    assert answer.headers["Vary"] == "Accept"


def test_the_page_allows_nothing_but_the_services_own_files_and_calls(service: Server):
    page = http.get(f"{service.url}/dashboard")

    policy = dict(
        (part.strip().partition(" ")[::2])
        for part in page.headers["Content-Security-Policy"].split(";")
    )
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    for name in ("base-uri", "form-action", "frame-ancestors", "trusted-types"):
        assert policy[name] == "'none'"


@pytest.mark.parametrize("path", ["/dashboard", *(f"/dashboard/{name}" for name in FILES)])
def test_a_file_is_sent_again_only_when_it_has_changed(service: Server, path: str):
    first = http.get(service.url + path)
    again = http.get(service.url + path, headers={"If-None-Match": first.headers["ETag"]})
    head = http.head(service.url + path)

    assert (first.status_code, again.status_code, head.status_code) == (200, 304, 200)
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-cache"
    assert again.content == head.content == b""
    assert head.headers["ETag"] == first.headers["ETag"]


def test_scripts_and_styles_have_types_that_a_browser_believes(service: Server):
    kinds = {
        Path(name).suffix: http.get(f"{service.url}/dashboard/{name}").headers["Content-Type"]
        for name in FILES
    }

    assert kinds[".js"].partition(";")[0] in ("text/javascript", "application/javascript")
    assert kinds[".css"].partition(";")[0] == "text/css"
    assert kinds[".svg"] == "image/svg+xml"


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2Fdashboard.html", "..%2F..%2Fsystem.py", "%00", "x" * 300, "%2E%2E"]
)
def test_no_other_file_is_served(service: Server, name: str):
    answer = http.get(f"{service.url}/dashboard/{name}")

    assert answer.status_code == 404


def test_a_slash_too_many_is_redirected_and_a_post_is_refused(service: Server):
    assert http.get(f"{service.url}/dashboard/").headers["Location"] == "/dashboard"
    refused = http.post(f"{service.url}/dashboard")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
