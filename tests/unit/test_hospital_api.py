"""One exchange -> one outcome: a table for what any endpoint may meet, then each endpoint's own.

What cannot be proved unapplied must come out as `Unknown`, and only the directory's own words may
mean that something is absent, full or refused.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
import respx

from models.hospital import HospitalRow, ListedHospital
from models.outcome import (
    Absent,
    Activated,
    AlreadyActive,
    Awake,
    BatchFull,
    Created,
    Deleted,
    Found,
    Listed,
    NotSent,
    RateLimited,
    Refused,
    Unexpected,
    Unknown,
)
from services.hospital_api import MAX_DETAIL, HospitalApi
from tests.virtual_time import run_virtual

BASE_URL = "http://directory.test"
BATCH_ID = UUID("00000000-0000-4000-8000-0000000000b1")
OTHER_BATCH_ID = UUID("00000000-0000-4000-8000-0000000000b2")
ROW = HospitalRow(1, "St. Mary's", "1 Main Street", "+1 555-0100")
HTML = "<html><body>Bad gateway</body></html>"

Call = Callable[[HospitalApi], Awaitable[object]]


@dataclass(frozen=True)
class Endpoint:
    """One method of the api, and what it asks of the directory.

    Attributes:
        call: Calls it.
        method: The HTTP method it uses.
        path: The path it uses.
        success: An answer that it takes.
    """

    call: Call
    method: str
    path: str
    success: tuple[int, Any]


def a_hospital(**changes: Any) -> dict[str, Any]:
    """The directory's JSON for ROW."""
    return {
        "id": 7,
        "name": ROW.name,
        "address": ROW.address,
        "phone": ROW.phone,
        "creation_batch_id": str(BATCH_ID),
        "active": False,
        "created_at": "2026-11-01T12:00:00.000000",
    } | changes


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in a_hospital().items() if name != key}


IN_BATCH = f"/hospitals/batch/{BATCH_ID}"
NO_BATCH = {"detail": "No hospitals found with the specified batch ID"}
NO_HOSPITAL = {"detail": "Hospital not found"}
ENDPOINTS = {
    "create": Endpoint(
        lambda api: api.create(BATCH_ID, ROW), "POST", "/hospitals/", (200, a_hospital())
    ),
    "list": Endpoint(lambda api: api.list_batch(BATCH_ID), "GET", IN_BATCH, (200, [a_hospital()])),
    "find": Endpoint(lambda api: api.find(7), "GET", "/hospitals/7", (200, a_hospital())),
    "activate": Endpoint(
        lambda api: api.activate(BATCH_ID),
        "PATCH",
        f"{IN_BATCH}/activate",
        (200, {"activated_count": 1, "message": "done"}),
    ),
    "delete": Endpoint(lambda api: api.delete(7), "DELETE", "/hospitals/7", (204, None)),
    "delete_batch": Endpoint(
        lambda api: api.delete_batch(BATCH_ID),
        "DELETE",
        IN_BATCH,
        (200, {"deleted_count": 1, "message": "done"}),
    ),
    "wake": Endpoint(lambda api: api.wake(60.0), "GET", "/", (200, {"status": "OK"})),
}
DELETES = ("delete", "delete_batch")
READ_ANSWERS = [name for name in ENDPOINTS if name != "delete"]  # whose 204 has no body


@pytest.fixture
def directory() -> respx.MockRouter:
    return respx.MockRouter(base_url=BASE_URL)


@pytest.fixture
async def api(directory: respx.MockRouter) -> AsyncIterator[HospitalApi]:
    api = an_api(BASE_URL, directory)
    yield api
    await api.close()


def an_api(base_url: str, directory: respx.MockRouter) -> HospitalApi:
    """An api at httpx's transport seam, which costs no certificates to load."""
    transport = httpx.MockTransport(directory.async_handler)
    return HospitalApi(base_url, timeout_s=30.0, connect_timeout_s=10.0, transport=transport)


# With the api of these tests; waking takes as long as it is told to.
ANSWER_S = dict.fromkeys(ENDPOINTS, 30.0) | {"wake": 60.0}


def unreadable() -> Unknown:
    return Unknown("the directory's answer could not be read")


def unexpected(status: int) -> Unexpected:
    return Unexpected(f"something before the directory answered {status}")


def reply(status: int, body: object = None) -> httpx.Response:
    """An answer: text as HTML, bytes as they are, nothing for None, anything else as JSON."""
    if isinstance(body, str):
        return httpx.Response(status, html=body)
    if body is None or isinstance(body, bytes):
        return httpx.Response(status, content=body)
    return httpx.Response(status, json=body)


async def outcome_of(
    api: HospitalApi, directory: respx.MockRouter, name: str, answer: httpx.Response | Exception
) -> object:
    """Call the endpoint, which the directory answers so."""
    endpoint = ENDPOINTS[name]
    route = directory.request(endpoint.method, endpoint.path)
    route.mock(
        side_effect=answer if isinstance(answer, Exception) else None,
        return_value=None if isinstance(answer, Exception) else answer,
    )
    return await endpoint.call(api)


async def outcomes_of(
    api: HospitalApi,
    directory: respx.MockRouter,
    answer: httpx.Response | Exception,
    names: Iterable[str] = ENDPOINTS,
) -> dict[str, object]:
    """Call endpoint after endpoint, all answered so."""
    return {name: await outcome_of(api, directory, name, answer) for name in names}


class TestAnyEndpoint:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (httpx.ConnectError, NotSent),
            (httpx.ConnectTimeout, NotSent),
            (httpx.PoolTimeout, NotSent),
            (httpx.ProxyError, NotSent),
            (httpx.ReadTimeout, Unknown),
            (httpx.ReadError, Unknown),
            (httpx.RemoteProtocolError, Unknown),
            (httpx.LocalProtocolError, Unknown),
            (httpx.WriteError, Unknown),
            (httpx.WriteTimeout, Unknown),
            (httpx.CloseError, Unknown),
            (httpx.DecodingError, Unknown),
        ],
    )
    async def test_only_a_connection_that_was_never_made_proves_that_nothing_was_sent(
        self,
        api: HospitalApi,
        directory: respx.MockRouter,
        error: type[httpx.HTTPError],
        kind: type,
    ):
        outcomes = await outcomes_of(api, directory, error("broken"))

        kinds = {name: type(outcome) for name, outcome in outcomes.items()}
        assert dict.fromkeys(ENDPOINTS, kind) == kinds

    @pytest.mark.parametrize(
        "body", [{"error": "Rate limit exceeded: 30 per 1 minute"}, HTML, b"\xff\x00", None, []]
    )
    async def test_429_is_a_refusal_for_pace_whatever_its_body(
        self, api: HospitalApi, directory: respx.MockRouter, body: object
    ):
        outcomes = await outcomes_of(api, directory, reply(429, body))

        assert dict.fromkeys(ENDPOINTS, RateLimited()) == outcomes

    @pytest.mark.parametrize(
        ("status", "body"),
        [(500, {"detail": "Internal Server Error"}), (502, HTML), (503, HTML), (504, None)],
    )
    async def test_a_server_error_proves_nothing(
        self, api: HospitalApi, directory: respx.MockRouter, status: int, body: object
    ):
        outcomes = await outcomes_of(api, directory, reply(status, body))

        unknown = Unknown(f"the directory answered {status}")
        assert dict.fromkeys(ENDPOINTS, unknown) == outcomes

    @pytest.mark.parametrize("status", [400, 404, 422])
    @pytest.mark.parametrize(
        "body",
        [
            HTML,
            None,
            b"\xff\xfe",
            b'{"detail": ',
            {},
            [],
            "",
            {"detail": None},
            {"detail": 7},
            {"detail": ""},
            {"message": "Hospital not found"},
        ],
    )
    async def test_a_client_error_in_no_words_of_the_directory_is_unexpected(
        self, api: HospitalApi, directory: respx.MockRouter, status: int, body: object
    ):
        """A gateway's 404 is not an empty batch, its 400 no full one."""
        outcomes = await outcomes_of(api, directory, reply(status, body))

        assert dict.fromkeys(ENDPOINTS, unexpected(status)) == outcomes

    @pytest.mark.parametrize("words", ["Not Found", "Hospital service is being moved"])
    async def test_a_404_in_other_words_is_unexpected(
        self, api: HospitalApi, directory: respx.MockRouter, words: str
    ):
        """A framework without such a route answers "Not Found"."""
        outcomes = await outcomes_of(api, directory, reply(404, {"detail": words}))

        assert dict.fromkeys(ENDPOINTS, unexpected(404)) == outcomes

    @pytest.mark.parametrize("status", [401, 402, 403, 405, 407, 408, 410, 413, 418, 425, 451])
    async def test_any_other_client_error_is_unexpected_even_with_a_detail(
        self, api: HospitalApi, directory: respx.MockRouter, status: int
    ):
        outcomes = await outcomes_of(api, directory, reply(status, {"detail": "no entry"}))

        assert dict.fromkeys(ENDPOINTS, unexpected(status)) == outcomes

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_redirect_is_not_followed(
        self, api: HospitalApi, directory: respx.MockRouter, status: int
    ):
        """A create sent on is a second create."""
        elsewhere = directory.route(path="/elsewhere").respond(200, json=a_hospital())
        answer = httpx.Response(status, headers={"Location": f"{BASE_URL}/elsewhere"})

        outcomes = await outcomes_of(api, directory, answer)

        assert dict.fromkeys(ENDPOINTS, unexpected(status)) == outcomes
        assert not elsewhere.called

    @pytest.mark.parametrize(
        "body",
        [
            HTML,
            None,
            b"null",
            b"7",
            b"[7]",
            b"{}",
            b'{"detail": "OK"}',
            b'\xff\xfe{"id": 7}',
            pytest.param(b"[" * 100_000, id="nested too deep"),
            b'"OK"',
        ],
    )
    @pytest.mark.parametrize("status", [200, 201, 202])
    async def test_a_success_that_cannot_be_read_proves_nothing(
        self, api: HospitalApi, directory: respx.MockRouter, status: int, body: object
    ):
        outcomes = await outcomes_of(api, directory, reply(status, body), READ_ANSWERS)

        assert dict.fromkeys(READ_ANSWERS, unreadable()) == outcomes

    @pytest.mark.parametrize("name", READ_ANSWERS)
    async def test_a_success_that_breaks_off_proves_nothing(
        self, api: HospitalApi, directory: respx.MockRouter, name: str
    ):
        status, body = ENDPOINTS[name].success
        torn = json.dumps(body).encode()[:-1]

        assert unreadable() == await outcome_of(api, directory, name, reply(status, torn))

    async def test_a_delete_that_a_page_of_html_answers_proves_nothing(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        """A host that answers for a sleeping directory deleted nothing."""
        outcomes = await outcomes_of(api, directory, reply(200, HTML), DELETES)

        kinds = {name: type(outcome) for name, outcome in outcomes.items()}
        assert dict.fromkeys(DELETES, Unknown) == kinds

    @pytest.mark.parametrize("name", ENDPOINTS)
    async def test_each_call_is_one_request_to_its_own_path(
        self, api: HospitalApi, directory: respx.MockRouter, name: str
    ):
        endpoint = ENDPOINTS[name]

        await outcome_of(api, directory, name, reply(*endpoint.success))

        sent = [(call.request.method, str(call.request.url)) for call in directory.calls]
        assert [(endpoint.method, BASE_URL + endpoint.path)] == sent

    @pytest.mark.parametrize("name", ENDPOINTS)
    async def test_a_path_in_the_base_url_is_kept(self, directory: respx.MockRouter, name: str):
        endpoint = ENDPOINTS[name]
        api = an_api(f"{BASE_URL}/directory", directory)
        route = directory.route(path=f"/directory{endpoint.path}").mock(
            return_value=reply(*endpoint.success)
        )

        await endpoint.call(api)
        await api.close()

        assert route.called

    @pytest.mark.parametrize("name", ENDPOINTS)
    async def test_connecting_and_answering_have_bounds_of_their_own(
        self, api: HospitalApi, directory: respx.MockRouter, name: str
    ):
        """The pool has none: requests are bounded before they reach it, so none waits there."""
        await outcome_of(api, directory, name, reply(*ENDPOINTS[name].success))

        answer_s = ANSWER_S[name]
        expected = {"connect": 10.0, "read": answer_s, "write": answer_s, "pool": None}
        assert expected == directory.calls.last.request.extensions["timeout"]

    @pytest.mark.parametrize("name", ENDPOINTS)
    def test_a_body_that_trickles_ends_as_unknown(self, name: str):
        """Each byte comes in time, the whole never does: a run would wait for ever."""
        outcome, seconds = run_virtual(_time(name, Trickling()))

        assert Unknown("the directory did not answer in time") == outcome
        connecting_s = 0.0 if name == "wake" else 10.0  # who asks to be woken says how long in all
        assert connecting_s + ANSWER_S[name] == seconds


class Trickling(httpx.AsyncBaseTransport):
    """Answers at once, with a body of one byte a second that never ends."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(1.0)

        return httpx.Response(200, content=body())


async def _time(name: str, transport: httpx.AsyncBaseTransport) -> tuple[object, float]:
    api = HospitalApi(BASE_URL, timeout_s=30.0, connect_timeout_s=10.0, transport=transport)
    started_s = asyncio.get_running_loop().time()
    outcome = await ENDPOINTS[name].call(api)
    await api.close()
    return outcome, asyncio.get_running_loop().time() - started_s


class TestCreate:
    async def create(
        self, api: HospitalApi, directory: respx.MockRouter, status: int, body: object
    ) -> object:
        return await outcome_of(api, directory, "create", reply(status, body))

    async def test_the_row_is_sent_whole_with_its_batch(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        await self.create(api, directory, 200, a_hospital())

        expected = {
            "name": "St. Mary's",
            "address": "1 Main Street",
            "phone": "+1 555-0100",
            "creation_batch_id": str(BATCH_ID),
        }
        assert expected == json.loads(directory.calls.last.request.content)

    async def test_the_url_ends_in_a_slash(self, api: HospitalApi, directory: respx.MockRouter):
        """Without it the directory answers 307, which is not followed."""
        await self.create(api, directory, 200, a_hospital())

        assert f"{BASE_URL}/hospitals/" == str(directory.calls.last.request.url)

    @pytest.mark.parametrize("status", [200, 201])
    async def test_the_id_is_taken_from_an_answer_that_names_the_row_and_its_batch(
        self, api: HospitalApi, directory: respx.MockRouter, status: int
    ):
        assert Created(7) == await self.create(api, directory, status, a_hospital())

    @pytest.mark.parametrize(
        "changes",
        [
            {"creation_batch_id": str(BATCH_ID).upper()},
            {"active": True},
            {"created_at": None},
            {"unheard_of": 1},
        ],
    )
    async def test_what_does_not_matter_may_differ(
        self, api: HospitalApi, directory: respx.MockRouter, changes: dict[str, Any]
    ):
        assert Created(7) == await self.create(api, directory, 200, a_hospital(**changes))

    @pytest.mark.parametrize(
        "body",
        [
            a_hospital(creation_batch_id=str(OTHER_BATCH_ID)),
            a_hospital(creation_batch_id=None),
            a_hospital(creation_batch_id="no uuid"),
            a_hospital(creation_batch_id=7),
            a_hospital(name="St. Mary"),
            a_hospital(name=None),
            a_hospital(address="2 Main Street"),
            a_hospital(phone=None),
            a_hospital(phone=15550100),
            a_hospital(id=True),
            a_hospital(id="7"),
            a_hospital(id=7.0),
            a_hospital(id=None),
            a_hospital(active="false"),
            a_hospital(active=None),
            *(without(key) for key in ("id", "name", "address", "phone", "active")),
            without("creation_batch_id"),
            [a_hospital()],
        ],
    )
    async def test_an_answer_about_anything_else_proves_nothing(
        self, api: HospitalApi, directory: respx.MockRouter, body: object
    ):
        outcome = await self.create(api, directory, 200, body)

        assert unreadable() == outcome

    @pytest.mark.parametrize(("sent", "answered"), [(None, None), (None, ""), ("", None)])
    async def test_no_phone_may_come_back_as_an_empty_one(
        self,
        api: HospitalApi,
        directory: respx.MockRouter,
        sent: str | None,
        answered: str | None,
    ):
        directory.post("/hospitals/").respond(200, json=a_hospital(phone=answered))

        outcome = await api.create(BATCH_ID, HospitalRow(1, ROW.name, ROW.address, sent))

        assert Created(7) == outcome

    async def test_a_batch_that_is_full_says_so(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        body = {"detail": "Batch cannot exceed 20 hospitals"}

        assert BatchFull() == await self.create(api, directory, 400, body)

    async def test_any_other_400_is_unexpected(self, api: HospitalApi, directory: respx.MockRouter):
        outcome = await self.create(api, directory, 400, {"detail": "Bad Request"})

        assert Unexpected is type(outcome)

    async def test_404_in_the_words_of_another_endpoint_is_unexpected(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        assert Unexpected is type(await self.create(api, directory, 404, NO_HOSPITAL))

    async def test_a_refused_row_says_which_field_is_wrong_without_repeating_what_was_sent(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        findings = [
            {"loc": ["body", "name"], "msg": "must not be blank", "input": "secret", "type": "x"},
            {"loc": ["body", "address"], "msg": "Field required", "input": {"name": "secret"}},
        ]

        outcome = await self.create(api, directory, 422, {"detail": findings})

        words = "name must not be blank; address Field required"
        assert Refused(f"refused by the directory: {words}") == outcome

    async def test_a_refused_row_may_be_refused_in_plain_words(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        outcome = await self.create(api, directory, 422, {"detail": "name must not be blank"})

        assert Refused("refused by the directory: name must not be blank") == outcome

    @pytest.mark.parametrize(
        "finding", [7, None, "x", {}, {"loc": 7}, {"loc": []}, {"msg": None}, {"loc": [{}, [7]]}]
    )
    async def test_a_422_whose_findings_are_odd_is_a_refusal_all_the_same(
        self, api: HospitalApi, directory: respx.MockRouter, finding: object
    ):
        assert Refused is type(await self.create(api, directory, 422, {"detail": [finding]}))

    async def test_a_long_reason_is_cut(self, api: HospitalApi, directory: respx.MockRouter):
        outcome = await self.create(api, directory, 422, {"detail": "x" * 10_000})

        assert Refused("refused by the directory: " + "x" * MAX_DETAIL) == outcome


class TestList:
    async def list_batch(
        self, api: HospitalApi, directory: respx.MockRouter, status: int, body: object
    ) -> object:
        return await outcome_of(api, directory, "list", reply(status, body))

    async def test_every_hospital_is_returned_as_the_directory_shows_it(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        body = [a_hospital(), a_hospital(id=8, phone=None, active=True)]

        outcome = await self.list_batch(api, directory, 200, body)

        first = ListedHospital(7, ROW.name, ROW.address, ROW.phone, BATCH_ID, active=False)
        second = ListedHospital(8, ROW.name, ROW.address, None, BATCH_ID, active=True)
        assert Listed((first, second)) == outcome

    async def test_nulls_in_texts_are_tolerated(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        """An update through the directory's own API can write them; the rest must be readable."""
        body = [a_hospital(name=None, address=None, phone=None)]

        outcome = await self.list_batch(api, directory, 200, body)

        nulls = ListedHospital(7, None, None, None, BATCH_ID, active=False)
        assert Listed((nulls,)) == outcome

    async def test_a_batch_that_the_directory_does_not_know_is_empty(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        assert Listed(()) == await self.list_batch(api, directory, 404, NO_BATCH)

    async def test_an_empty_list_is_an_empty_batch(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        assert Listed(()) == await self.list_batch(api, directory, 200, [])

    async def test_404_about_a_hospital_is_not_about_a_batch(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        assert Unexpected is type(await self.list_batch(api, directory, 404, NO_HOSPITAL))

    @pytest.mark.parametrize(
        "odd",
        [
            a_hospital(creation_batch_id=str(OTHER_BATCH_ID)),
            a_hospital(creation_batch_id=None),
            a_hospital(id=True),
            a_hospital(name=7),
            a_hospital(active=1),
            without("phone"),
            None,
        ],
    )
    async def test_one_entry_that_cannot_be_right_makes_the_whole_list_unknown(
        self, api: HospitalApi, directory: respx.MockRouter, odd: object
    ):
        """A list without it would prove rows absent that are there."""
        outcome = await self.list_batch(api, directory, 200, [a_hospital(), odd])

        assert unreadable() == outcome

    async def test_a_list_inside_an_object_is_unknown(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        outcome = await self.list_batch(api, directory, 200, {"hospitals": []})

        assert Unknown is type(outcome)


class TestFind:
    async def find(
        self, api: HospitalApi, directory: respx.MockRouter, status: int, body: object
    ) -> object:
        return await outcome_of(api, directory, "find", reply(status, body))

    @pytest.mark.parametrize("batch_id", [BATCH_ID, OTHER_BATCH_ID, None])
    async def test_a_hospital_is_found_of_whatever_batch(
        self, api: HospitalApi, directory: respx.MockRouter, batch_id: UUID | None
    ):
        """The caller compares: ids count from 1 again after the directory restarts."""
        written = None if batch_id is None else str(batch_id)
        outcome = await self.find(api, directory, 200, a_hospital(creation_batch_id=written))

        found = ListedHospital(7, ROW.name, ROW.address, ROW.phone, batch_id, active=False)
        assert Found(found) == outcome

    async def test_a_hospital_that_is_not_there_is_absent(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        assert Absent() == await self.find(api, directory, 404, NO_HOSPITAL)

    async def test_404_about_a_batch_is_not_about_a_hospital(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        assert Unexpected is type(await self.find(api, directory, 404, NO_BATCH))


class TestActivate:
    async def activate(
        self, api: HospitalApi, directory: respx.MockRouter, status: int, body: object
    ) -> object:
        return await outcome_of(api, directory, "activate", reply(status, body))

    @pytest.mark.parametrize("count", [0, 1, 20])
    async def test_the_directory_says_how_many_became_active(
        self, api: HospitalApi, directory: respx.MockRouter, count: int
    ):
        body = {"activated_count": count, "message": "done"}

        assert Activated(count) == await self.activate(api, directory, 200, body)

    @pytest.mark.parametrize("count", ["20", True, 20.0, None, [20]])
    async def test_a_count_that_is_none_proves_nothing(
        self, api: HospitalApi, directory: respx.MockRouter, count: object
    ):
        outcome = await self.activate(api, directory, 200, {"activated_count": count})

        assert Unknown is type(outcome)

    async def test_a_batch_with_an_active_hospital_is_refused(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        body = {"detail": "Hospitals of this batch are already active"}

        assert AlreadyActive() == await self.activate(api, directory, 400, body)

    async def test_a_batch_without_hospitals_is_absent(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        assert Absent() == await self.activate(api, directory, 404, NO_BATCH)


class TestDelete:
    async def test_a_hospital_is_deleted(self, api: HospitalApi, directory: respx.MockRouter):
        assert Deleted() == await outcome_of(api, directory, "delete", reply(204))

    async def test_a_hospital_that_is_not_there_is_absent(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        outcome = await outcome_of(api, directory, "delete", reply(404, NO_HOSPITAL))

        assert Absent() == outcome

    async def test_a_batch_is_deleted(self, api: HospitalApi, directory: respx.MockRouter):
        body = {"deleted_count": 20, "message": "done"}

        assert Deleted() == await outcome_of(api, directory, "delete_batch", reply(200, body))

    async def test_a_batch_without_hospitals_is_absent(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        outcome = await outcome_of(api, directory, "delete_batch", reply(404, NO_BATCH))

        assert Absent() == outcome

    @pytest.mark.parametrize("body", [{"message": "done"}, {"deleted_count": True}, a_hospital()])
    async def test_a_batch_is_not_deleted_by_an_answer_without_a_count(
        self, api: HospitalApi, directory: respx.MockRouter, body: object
    ):
        assert unreadable() == await outcome_of(api, directory, "delete_batch", reply(200, body))

    @pytest.mark.parametrize(
        ("name", "words"), [("delete", NO_BATCH), ("delete_batch", NO_HOSPITAL)]
    )
    async def test_404_in_the_words_of_the_other_delete_is_unexpected(
        self, api: HospitalApi, directory: respx.MockRouter, name: str, words: dict[str, str]
    ):
        outcome = await outcome_of(api, directory, name, reply(404, words))

        assert Unexpected is type(outcome)


class TestWake:
    async def test_the_directory_is_awake_when_it_answers_as_itself(
        self, api: HospitalApi, directory: respx.MockRouter
    ):
        outcome = await outcome_of(api, directory, "wake", reply(200, {"status": "OK"}))

        assert Awake() == outcome

    @pytest.mark.parametrize(
        "body", ["<p>status: waking</p>", b'"status"', b'["status"]', {"state": "OK"}]
    )
    async def test_anything_else_is_not_its_answer(
        self, api: HospitalApi, directory: respx.MockRouter, body: object
    ):
        assert unreadable() == await outcome_of(api, directory, "wake", reply(200, body))


async def test_a_cancelled_call_stays_cancelled():
    """A stop must not come out as an outcome."""

    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError("never")

    api = HospitalApi(BASE_URL, timeout_s=30.0, connect_timeout_s=10.0, transport=Silent())
    call = asyncio.create_task(api.create(BATCH_ID, ROW))
    await asyncio.sleep(0)

    call.cancel()
    await asyncio.wait({call})
    await api.close()

    assert call.cancelled()
