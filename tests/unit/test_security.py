"""The headers of every answer, and under which names the service may be called."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Scope

from config import Settings
from main import create_app

BODY = {"files": {"file": ("x.csv", b"")}}
ORIGIN = "https://desk.example.org"
KEY = "x" * 20


def app_with(**settings: Any) -> FastAPI:
    app = create_app(
        Settings(_env_file=None, hospital_api_base_url="http://127.0.0.1:9", **settings)
    )
    app.state.service = None

    @app.get("/broken", include_in_schema=False)
    async def broken() -> None:
        raise RuntimeError("nobody foresaw this")

    return app


def client(app: FastAPI, host: str = "service.test") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/health", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/dashboard", 200),
        ("GET", "/dashboard/app.js", 200),
        ("GET", "/docs", 200),
        ("GET", "/redoc", 200),
        ("GET", "/docs/swagger-ui.css", 200),
        ("GET", "/nothing", 404),
        ("GET", "/dashboard/nothing.js", 404),
        ("GET", "/docs/", 307),
        ("PUT", "/health", 405),
        ("GET", "/broken", 500),
        ("GET", "/hospitals/batches", 401),
        ("HEAD", "/health", 200),
    ],
)
async def test_every_answer_tells_browsers_to_be_careful(method: str, path: str, status: int):
    app = app_with(api_keys=f"one:{KEY}")
    shown = {"X-API-Key": KEY} if status != 401 else {}
    async with client(app) as http:
        answer = await http.request(method, path, headers=shown)

    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] in ("no-store", "no-cache")


@pytest.mark.parametrize("path", ["/dashboard", "/docs", "/redoc"])
async def test_pages_run_the_services_own_scripts_and_no_others(path: str):
    async with client(app_with()) as http:
        answer = await http.get(path)

    parts = [part.strip().partition(" ") for part in _policy(answer).split(";")]
    allowed = {name: sources for name, _, sources in parts}
    assert allowed["script-src"] == allowed["connect-src"] == "'self'"
    assert allowed["style-src"].split()[0] == "'self'"
    assert allowed["img-src"] == "'self' data:"
    assert allowed["base-uri"] == allowed["form-action"] == "'none'"
    assert "<script>" not in answer.text
    assert "http" not in answer.text.replace("http-equiv", "")


def _policy(answer: httpx.Response) -> str:
    policy: str = answer.headers["Content-Security-Policy"]
    return policy


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/redoc.standalone.js"])
async def test_a_page_of_the_documentation_is_sent_again_only_when_it_has_changed(path: str):
    async with client(app_with()) as http:
        first = await http.get(path)
        again = await http.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, again.status_code) == (200, 304)
    assert first.headers["Cache-Control"] == again.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["..%2Fdashboard.html", "%2E%2E", "nothing.js", "%00"])
async def test_no_other_file_is_served_there(name: str):
    async with client(app_with()) as http:
        assert (await http.get(f"/docs/{name}")).status_code == 404


async def test_the_rate_limits_refusal_has_the_headers_too():
    async with client(app_with(max_requests_per_second=1)) as http:
        answer = await http.get("/")
        while answer.status_code != 429:
            answer = await http.get("/")

    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    "path", ["/", "/openapi.json", "/nothing", "/broken", "/hospitals/batches?cursor=x"]
)
async def test_what_is_no_file_is_kept_nowhere(path: str):
    app = app_with()
    async with client(app) as http:
        answer = await http.get(path)

    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"] == (
        "default-src 'none'; frame-ancestors 'none'"
    )


async def test_what_nobody_foresaw_is_a_problem_that_tells_nothing_of_it():
    async with client(app_with()) as http:
        answer = await http.get("/broken")

    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["instance"] == "/broken"
    assert "nobody foresaw" not in answer.text


async def test_without_origins_nothing_is_said_to_other_pages():
    ask = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    async with client(app_with()) as http:
        answers = [
            await http.options("/hospitals/bulk", headers=ask),
            await http.get("/health", headers=ask),
        ]

    assert [answer.status_code for answer in answers] == [405, 200]
    assert answers[0].headers["Content-Type"] == "application/problem+json"
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_named_origin_may_call_with_a_key_and_read_what_it_needs():
    app = app_with(cors_origins=ORIGIN, api_keys=f"one:{KEY}")
    wanted = "authorization,x-api-key,idempotency-key,prefer,content-type,last-event-id"
    async with client(app) as http:
        preflight = await http.options(
            "/hospitals/bulk",
            headers={
                "Origin": ORIGIN,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": wanted + ",x-request-id",
            },
        )
        refused = await http.get("/hospitals/batches", headers={"Origin": ORIGIN})
        nothing = await http.get("/nothing", headers={"Origin": ORIGIN, "X-API-Key": KEY})

    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    methods = preflight.headers["Access-Control-Allow-Methods"]
    assert {"GET", "HEAD", "POST", "PATCH", "DELETE"} <= set(methods.split(", "))
    assert (refused.status_code, nothing.status_code) == (401, 404)
    for answer in (refused, nothing):
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {
            "Location",
            "Retry-After",
            "Preference-Applied",
            "Idempotency-Replayed",
            "X-Request-ID",
            "Content-Disposition",
        } <= set(exposed)


@pytest.mark.parametrize("origin", ["https://other.example.org", ORIGIN + ".evil.example", "null"])
async def test_another_origin_is_told_nothing(origin: str):
    async with client(app_with(cors_origins=ORIGIN)) as http:
        preflight = await http.options(
            "/hospitals/bulk", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
        )
        call = await http.get("/health", headers={"Origin": origin})

    assert preflight.status_code == 400
    assert preflight.headers["Content-Type"] == "application/problem+json"
    assert preflight.json()["instance"] == preflight.request.url.path
    assert "X-Request-ID" in preflight.headers
    for answer in (preflight, call):
        assert "Access-Control-Allow-Origin" not in answer.headers


TRUSTED = "api.example.org,*.example.net,[2001:db8::1],192.0.2.7"


@pytest.mark.parametrize(
    "host",
    [
        "api.example.org",
        "API.Example.ORG",
        "api.example.org:8000",
        "api.example.org.",
        "one.example.net",
        "one.two.example.net:443",
        "[2001:db8::1]",
        "[2001:db8::1]:8000",
        "192.0.2.7:8000",
    ],
)
async def test_a_trusted_name_is_taken_with_any_port(host: str):
    async with client(app_with(trusted_hosts=TRUSTED)) as http:
        answer = await http.get("/", headers={"Host": host})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "api.example.org.evil.example",
        "xapi.example.org",
        "example.net",
        ".example.net",
        "evilexample.net",
        "[2001:db8::2]",
        "192.0.2.70",
        "api.example.org:80:80",
        "evil.example:api.example.org",
        "",
    ],
)
async def test_another_name_is_refused_with_a_problem(host: str):
    async with client(app_with(trusted_hosts=TRUSTED)) as http:
        answer = await http.get("/", headers={"Host": host})

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.json()["instance"] == "/"


async def test_a_call_without_any_name_is_refused():
    """HTTP/1.0 allows it, and httpx does not."""
    started: list[Message] = []

    async def send(message: Message) -> None:
        started.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is to be received")

    scope: Scope = {
        "type": "http",
        "http_version": "1.0",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "client": None,
    }
    await app_with(trusted_hosts=TRUSTED)(scope, receive, send)

    assert started[0]["status"] == 400


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_platforms_may_ask_by_an_address_whether_the_service_is_well(
    path: str, tmp_path: Path
):
    app = app_with(trusted_hosts=TRUSTED, batch_storage_dir=tmp_path, create_rate_limit=0)
    async with app.router.lifespan_context(app), client(app) as http:
        answer = await http.get(path, headers={"Host": "10.1.2.3:8000"})
        app.state.service.stop()

    assert answer.status_code == 200


async def test_without_trusted_names_any_is_taken():
    async with client(app_with()) as http:
        assert (await http.get("/", headers={"Host": "any.example"})).status_code == 200
