"""What schemathesis sends and checks beyond what the OpenAPI document tells it.

Loaded by its process (see schemathesis.toml), which is given ids of batches in FUZZ_BATCH_IDS.
"""

import os
import zlib
from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests.contract import Contract

Case = schemathesis.Case[Any]

REFUSED, CUT_OFF = "Refused Hospital", "Cut Off Hospital"  # the directory's faults go by name
NAMES = ("Fine Hospital", "Hôpital Saint-Rémy", "Third Hospital", REFUSED, CUT_OFF, "X", "")
ADDRESSES = ("12 Alder Lane, Leeds", "1 rue de l'Église", "x", "")
PHONES = ("", "0113 496 0142", "n/a")

_known = os.environ["FUZZ_BATCH_IDS"].split()

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
def before_call(context: schemathesis.HookContext, case: Case, kwargs: Any) -> None:
    """Ask mostly for batches that exist: no text that is made up is the id of one."""
    batch_id = case.path_parameters.get("batch_id")
    if isinstance(batch_id, str):
        number = zlib.crc32(batch_id.encode(errors="replace"))
        if number % 4 and batch_id not in _known:
            case.path_parameters["batch_id"] = _known[number // 4 % len(_known)]


@schemathesis.hook
def after_call(
    context: schemathesis.HookContext, case: Case, response: schemathesis.Response
) -> None:
    """Remember the batches that came into being."""
    _, found, batch_id = response.headers.get("location", [""])[0].rpartition("/progress/")
    if found and batch_id not in _known:
        _known.append(batch_id)


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
