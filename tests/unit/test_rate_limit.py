"""How many requests get through the rate limit, and who counts as one caller."""

import asyncio
import gc
import threading
import tracemalloc
from collections import Counter
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from models.caller import ANYBODY, Caller
from routers.rate_limit import RateLimit, SlidingCounter, network_of
from tests.unit.strategies import law

LIMIT = 20

a_pause = st.floats(0, 0.7) | st.floats(0.9, 2.5)  # within a second, and beyond the next


async def _ok(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def limited(per_second: int = LIMIT) -> RateLimit:
    return RateLimit(_ok, per_second, lambda scope: scope.get("shown"))


async def call(
    limit: RateLimit,
    host: str | None = "203.0.113.5",
    key: Caller | None = None,
    path: str = "/hospitals/batches",
) -> tuple[int, dict[str, str]]:
    """Return the status and the headers of the answer."""
    start: Message = {}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)

    async def receive() -> Message:
        raise AssertionError("nothing is to be received")

    client = None if host is None else (host, 4711)
    scope: dict[str, Any] = {"type": "http", "path": path, "client": client, "shown": key}
    await limit(scope, receive, send)
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}


async def taken(limit: RateLimit, calls: int, **who: Any) -> int:
    """Return how many of *calls* at once are let through."""
    return Counter([(await call(limit, **who))[0] for _ in range(calls)])[200]


async def exhaust(limit: RateLimit, **who: Any) -> dict[str, str]:
    """Call until a call is refused; return its headers."""
    while True:
        status, headers = await call(limit, **who)
        if status == 429:
            return headers


async def test_of_very_many_requests_no_more_get_through_than_the_limit_allows():
    """At most the limit in each second of the clock, and so twice that around its turn."""
    through = await taken(limited(), 10 * LIMIT)

    assert LIMIT <= through <= 2 * LIMIT


async def test_over_several_seconds_the_limit_is_kept():
    limit = limited()
    loop = asyncio.get_running_loop()
    await taken(limit, 10 * LIMIT)
    started_s = loop.time()
    through = 0
    while loop.time() < started_s + 2.5:
        through += await taken(limit, 1)
        await asyncio.sleep(0.005)

    assert 0.5 * 2.5 * LIMIT <= through <= (2.5 + 1) * LIMIT


@pytest.mark.parametrize("per_second", [1, LIMIT])
async def test_after_retry_after_the_same_request_gets_through(per_second: int):
    limit = limited(per_second)
    for _ in range(2):
        headers = await exhaust(limit)
        seconds = int(headers["retry-after"])
        assert seconds >= 1
        await asyncio.sleep(seconds)

        assert (await call(limit))[0] == 200


async def test_a_refusal_is_a_problem_that_says_what_to_do():
    headers = await exhaust(limited())

    assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_whether_the_service_is_well_can_always_be_asked(path: str):
    limit = limited()
    await exhaust(limit)

    assert await taken(limit, 5 * LIMIT, path=path) == 5 * LIMIT


async def test_zero_is_no_limit():
    assert await taken(limited(0), 1000) == 1000


async def test_each_key_has_its_own_limit_wherever_it_calls_from():
    limit = limited(1)
    one, other = Caller("one", sees_all=False), Caller("other", sees_all=False)
    await exhaust(limit, key=one)

    assert await taken(limit, 1, key=other) == 1
    assert await taken(limit, 20, key=one, host="198.51.100.7") <= 1


async def test_a_key_that_is_named_like_an_address_is_not_that_address():
    limit = limited(1)
    await exhaust(limit, host="203.0.113.5")

    assert await taken(limit, 1, key=Caller("203.0.113.5", sees_all=False)) == 1


async def test_without_keys_the_address_counts():
    limit = limited(1)
    await exhaust(limit, key=ANYBODY)

    assert await taken(limit, 1, key=ANYBODY, host="203.0.113.6") == 1


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb:cccc:dddd:2", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_an_ipv6_caller_is_known_by_its_network(host: str, network: str):
    assert network_of(host) == network


async def test_a_caller_without_an_address_is_limited_too():
    assert await taken(limited(), 10 * LIMIT, host=None) <= 2 * LIMIT


async def test_what_is_no_request_passes():
    reached: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["type"])

    async def unused(*_: Any) -> Any:
        raise AssertionError

    await RateLimit(app, 1, lambda scope: None)({"type": "lifespan"}, unused, unused)

    assert reached == ["lifespan"]


@law
@given(
    st.integers(1, 5),
    st.lists(st.tuples(a_pause, st.sampled_from("ab")), min_size=1, max_size=60),
)
def test_each_is_let_through_by_what_it_called_itself_in_this_second_and_the_one_before(
    limit: int, calls: list[tuple[float, str]]
):
    counter, now_s = SlidingCounter(limit), 100.0
    through: list[tuple[float, str]] = []
    for pause_s, name in calls:
        now_s += pause_s
        theirs = [at_s for at_s, whose in through if whose == name]
        this = sum(int(at_s) == int(now_s) for at_s in theirs)
        before = sum(int(at_s) == int(now_s) - 1 for at_s in theirs)

        taken = counter.add(("address", name), now_s)

        assert taken is (floor(before * (1 - now_s % 1)) + this < limit)
        if taken:
            through.append((now_s, name))


@pytest.mark.parametrize(("now_s", "taken"), [(101.0, 0), (101.5, 10), (102.0, 20), (7.0, 20)])
def test_calls_count_less_and_less_and_after_two_seconds_not_at_all(now_s: float, taken: int):
    counter = SlidingCounter(20)
    assert all(counter.add(("key", "one"), 100.9) for _ in range(20))

    assert sum(counter.add(("key", "one"), now_s) for _ in range(40)) == taken


async def test_addresses_of_the_past_are_forgotten_and_nothing_runs_on():
    threads = threading.active_count()
    limit = limited()
    await call(limit)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(2000):
        await call(limit, host=f"10.0.{number // 250}.{number % 250}")
    held = tracemalloc.get_traced_memory()[0] - before
    await asyncio.sleep(2.1)  # twice the window: the one before is weighed
    await call(limit)
    await asyncio.sleep(0)
    gc.collect()
    left = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert left < held / 2  # the tables that held them stay
    assert len(asyncio.all_tasks()) == 1
    assert threading.active_count() == threads
