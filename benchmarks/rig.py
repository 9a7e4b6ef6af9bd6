"""What the benchmarks share: files, uploads, and creates sent bare for the floor."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import httpx

TIMEOUT_S = 300.0


def csv_file(rows: int, name: str = "Hospital") -> bytes:
    """Return a file with *rows* different hospitals, called *name* and a number."""
    lines = [f"{name} {n},{n} Main Street Springfield,555-010{n:04d}" for n in range(rows)]
    return ("name,address,phone\n" + "\n".join(lines) + "\n").encode()


async def upload(client: httpx.AsyncClient, url: str, rows: int) -> tuple[float, dict[str, Any]]:
    """Upload a file and wait for its result; return the seconds it took, and the result."""
    started = time.perf_counter()
    files = {"file": ("hospitals.csv", csv_file(rows), "text/csv")}
    answer = await client.post(f"{url}/hospitals/bulk", files=files)
    seconds = time.perf_counter() - started
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()
    if result["status"] != "completed":
        raise RuntimeError(f"not completed: {result['failure_reason']}")
    return seconds, result


async def bare_creates(url: str, rows: int, *, at_once: bool = True) -> float:
    """Send *rows* creates with bare httpx; return the seconds until the last was answered."""
    batch_id = str(uuid4())
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
        await client.get("/")

        async def create(n: int) -> None:
            body = {"name": f"Hospital {n}", "address": f"{n} Main Street Springfield"}
            answer = await client.post("/hospitals/", json=body | {"creation_batch_id": batch_id})
            answer.raise_for_status()

        started = time.perf_counter()
        if at_once:
            await asyncio.gather(*(create(n) for n in range(rows)))
        else:
            for n in range(rows):
                await create(n)
        return time.perf_counter() - started
