"""Requests that nobody thought of, against the running service: each gets a documented answer.

FUZZ_SECONDS and FUZZ_SEED make it longer and other than in the ordinary run (`make fuzz`).
"""

import os
import random
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, seed, settings

from scripts.processes import ROOT, Server, start_service
from tests.contract import Contract
from tests.e2e.conftest import CUT_OFF, HANGING, INSTANT, REFUSED, http, upload, wait_until
from tests.e2e.odd_requests import OddRequest, odd_requests

SECONDS = int(os.environ.get("FUZZ_SECONDS") or 0)
SEED = int(os.environ.get("FUZZ_SEED") or (random.randrange(10**9) if SECONDS else 1))
BUDGET = ["--max-time", str(SECONDS)] if SECONDS else ["--max-examples", "40"]

# What the requests have to reach: it is noticed when they come to stop short of it.
REACHED = {
    ("POST", "/hospitals/bulk"): {200, 202, 400, 422},
    ("POST", "/hospitals/validate"): {200, 422},
    ("GET", "/hospitals/progress/{batch_id}"): {200, 404, 422},
    ("GET", "/hospitals/progress/{batch_id}/events"): {200, 204, 404},
    ("GET", "/hospitals/batches"): {200, 422},
    ("POST", "/hospitals/resume/{batch_id}"): {202, 404, 409},
    ("POST", "/hospitals/batch/{batch_id}/cancel"): {404, 409},
    ("PATCH", "/hospitals/batch/{batch_id}/rows/{row}"): {404, 422},
    ("GET", "/hospitals/batch/{batch_id}/report.csv"): {200, 422},
    ("GET", "/hospitals/batch/{batch_id}/verify"): {200, 404, 409},
    ("DELETE", "/hospitals/batch/{batch_id}/abandon"): {200, 404, 409},
}
# In the service's log; the requests stand there too, and may hold any word.
UNFORESEEN = re.compile(r"^(?: *Traceback|\S+ \[(?:error|critical)).*", re.M)
NOT_HTTP = (400, "text/plain; charset=utf-8")  # uvicorn's own; it never reaches the service


@pytest.fixture(scope="module")
def service(
    instant_directory: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    settings: dict[str, Any] = INSTANT | {"max_upload_bytes": 100_000, "max_queued_batches": 10_000}
    service = start_service(tmp_path_factory.mktemp("fuzz"), instant_directory.url, **settings)
    yield service
    service.kill()


@pytest.fixture(scope="module")
def batch_ids(service: Server) -> list[str]:
    """One batch in each state that lasts, first the one that can be resumed."""
    found = {}
    for name in (CUT_OFF, "Fine Hospital", REFUSED, HANGING):
        content = f'name,address\n{name},"12 Alder Lane, Leeds"\n'
        accepted = upload(service, content, Prefer="respond-async").json()
        url = f"{service.url}/hospitals/progress/{accepted['batch_id']}"
        wait_until(partial(_rests, url, is_to_run=name == HANGING))
        found[http.get(url).json()["status"]] = accepted["batch_id"]
    assert set(found) == {"completed", "failed", "resumable", "processing"}
    return list(found.values())


def _rests(url: str, is_to_run: bool) -> bool:
    progress = http.get(url).json()
    return bool(progress["status"] == "processing" if is_to_run else progress["is_completed"])


def answered(log: str) -> dict[tuple[str, str], set[int]]:
    """Return the statuses that each method and path were answered with, from the access log."""
    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    for method, path, status in re.findall(r"method=(\w+) path=(\S+) status=(\d+)", log):
        path = re.sub(r"(progress|resume|batch)/(?!cleanup)[^/?]+", r"\1/{batch_id}", path)
        path = re.sub(r"rows/[^/?]+", "rows/{row}", path)
        found[method, path].add(int(status))
    return found


def test_every_request_made_from_the_document_gets_an_answer_that_it_describes(
    service: Server, batch_ids: list[str], tmp_path: Path
):
    command = [str(Path(sys.executable).with_name("schemathesis")), "--no-color"]
    command += ["--config-file", str(ROOT / "tests" / "e2e" / "schemathesis.toml")]
    command += ["run", f"{service.url}/openapi.json", "--seed", str(SEED), *BUDGET]
    environment = {"PYTHONPATH": str(ROOT), "FUZZ_BATCH_IDS": " ".join(batch_ids)}

    # In a folder of its own: failures of an earlier run are kept in there, and sent again first.
    run = subprocess.run(command, env=os.environ | environment, cwd=tmp_path, check=False)

    assert run.returncode == 0, f"FUZZ_SEED={SEED} shows it again"
    assert not UNFORESEEN.findall(service.output())
    found = answered(service.output())
    assert {call: missing for call in REACHED if (missing := REACHED[call] - found[call])} == {}


def test_an_odd_request_gets_a_documented_answer_or_a_problem(
    service: Server, batch_ids: list[str]
):
    contract = Contract(http.get(f"{service.url}/openapi.json").json())
    paths = [path.replace("{batch_id}", batch_ids[1]) for _, path in REACHED]

    @seed(SEED)
    @settings(max_examples=25 * SECONDS or 600, deadline=None, database=None)
    @given(odd_requests([*paths, "/", "/health/ready", "/hospitals/resumable", "/docs"]))
    def check(request: OddRequest) -> None:
        answer = request.send(service.url)
        kind = answer.headers.get("content-type", "")
        if (answer.status, kind) == NOT_HTTP:
            return
        contract.check(request.method, request.path, answer.status, kind, answer.body)
        assert answer.status < 500
        assert (answer.status == 405) == ("allow" in answer.headers)
        assert re.match("/[^/]|/$", answer.headers.get("location", "/")), "leads to another host"

    check()

    assert not UNFORESEEN.findall(service.output())
