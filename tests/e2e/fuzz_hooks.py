"""What schemathesis sends and checks beyond what the OpenAPI document tells it.

Loaded by its process (see schemathesis.toml), which is given ids of batches in FUZZ_BATCH_IDS.
"""

import os
import re
from collections import Counter, deque
from typing import Any

import schemathesis
from hypothesis import strategies as st

from models.api import EXAMPLE_ID
from tests.contract import Contract
from tests.e2e.conftest import CUT_OFF, REFUSED

Case = schemathesis.Case[Any]

NAMES = ("Fine Hospital", "Hôpital Saint-Rémy", "Third Hospital", REFUSED, CUT_OFF, "X", "")
ADDRESSES = ("12 Alder Lane, Leeds", "1 rue de l'Église", "x", "")
PREFERENCES = ("wait=10", "respond-async", "wait=10, Respond-Async;x", "respond-async,")
PHONES = ("", "0113 496 0142", "n/a")

_lasting = os.environ["FUZZ_BATCH_IDS"].split()
_turns = Counter[str]()  # of each operation
_stopped = deque[str](maxlen=5)  # lately
_done: dict[str, str] = {}  # batch -> id of the event that told its end

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_contracts: list[Contract] = []


def _csv(rows: list[tuple[str, str, str]]) -> bytes:
    lines = [",".join(f'"{value}"' for value in row) for row in rows]
    return "\n".join(["name,address,phone", *lines]).encode()


rows = st.tuples(*(st.sampled_from(values) for values in (NAMES, ADDRESSES, PHONES)))
sound = st.tuples(st.sampled_from(NAMES[:5]), st.just(ADDRESSES[0]), st.sampled_from(PHONES[:2]))
schemathesis.openapi.media_type(
    "text/csv",
    st.lists(sound, min_size=1, max_size=22).map(_csv)
    | st.lists(rows, max_size=5).map(_csv)
    | st.text('name,address;\t|"\r\n0é\0').map(str.encode)
    | st.binary(),
)


@schemathesis.hook
def after_load_schema(context: schemathesis.HookContext, schema: schemathesis.BaseSchema) -> None:
    """Take the document that the service serves as the judge."""
    _contracts.append(Contract(schema.raw_schema))


@schemathesis.hook
def flatmap_headers(
    context: schemathesis.HookContext, headers: dict[str, Any] | None
) -> st.SearchStrategy[dict[str, Any] | None]:
    """Say often enough, in one way or another, that the answer is wanted at once."""
    if not headers or "prefer" not in headers:
        return st.just(headers)
    return st.sampled_from(PREFERENCES).map(lambda text: {**headers, "prefer": text})


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: Any) -> None:
    """Ask mostly for batches that exist; streams only for those that end, half of them anew."""
    _choose_batch(case)
    if _is_stream(case):
        if case.path_parameters["batch_id"] == _lasting[-1]:  # the one that runs
            case.path_parameters["batch_id"] = _lasting[1]
        done_id = _done.pop(case.path_parameters["batch_id"], None)
        if done_id is not None:
            case.headers["Last-Event-ID"] = done_id


def _choose_batch(case: Case) -> None:
    """Take the batches in turn; ids from earlier answers stay what they are."""
    made_up = case.path_parameters.get("batch_id")
    if not isinstance(made_up, str) or (_UUID.fullmatch(made_up) and made_up != EXAMPLE_ID):
        return
    _turns[case.operation.label] += 1
    turn = _turns[case.operation.label]
    if turn % 4:
        # A delete leaves the one that can be resumed, again and again.
        resumable, *others = _lasting
        others += _stopped if case.method == "DELETE" else [*_stopped, resumable, resumable]
        case.path_parameters["batch_id"] = others[turn % len(others)]


@schemathesis.hook
def after_call(
    context: schemathesis.HookContext, case: Case, response: schemathesis.Response
) -> None:
    """Remember the batches that stopped, for resumes and abandons, and the ends of streams."""
    if _is_stream(case) and (ids := re.findall(r"^id: (\d+-done)$", response.text, re.M)):
        _done[case.path_parameters["batch_id"]] = ids[-1]
    if "location" in response.headers and response.json()["status"] in ("resumable", "failed"):
        _stopped.append(response.json()["batch_id"])


def _is_stream(case: Case) -> bool:
    return case.path.endswith("/events")


@schemathesis.check
def is_as_documented(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: Case
) -> None:
    """The type of an error is one of that endpoint; every error is a problem; nothing leaks."""
    path = response.request.path_url.partition("?")[0]
    _contracts[0].check(
        str(response.request.method),
        path,
        response.status_code,
        response.headers.get("content-type", [""])[0],
        response.content,
    )
