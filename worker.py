"""Runs batches without serving HTTP: `python -m worker`, as many as wanted, beside DATABASE_URL."""

import asyncio
import signal
import sys
from collections.abc import Iterator

import uvloop
from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.registry import Collector

from config import BadSetting, Settings, load_settings
from lifecycle import CannotStart
from services.logs import configure, get_logger
from services.meters import Meters
from wiring import running_service

logger = get_logger("hospital_bulk")

READING_S = 5.0  # longest wait of a scrape for an event loop that is busy


async def work(settings: Settings) -> None:
    """Run batches until SIGTERM or SIGINT; CannotStart if that is not possible."""
    meters = Meters(settings.app_version)
    if settings.worker_metrics_port is not None:
        _show(meters.registry, settings.worker_metrics_port)
    async with running_service(settings, meters) as service:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        logger.info("worker started")
        await service.wait_until_stopping()
    logger.info("worker stopped")


class _OnLoop(Collector):
    """What a registry has, read on the event loop: what it counts is changed there."""

    def __init__(self, registry: CollectorRegistry, loop: asyncio.AbstractEventLoop) -> None:
        self._registry = registry
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        yield from reading.result(READING_S)

    async def _read(self) -> list[Metric]:
        return list(self._registry.collect())


def _show(registry: CollectorRegistry, port: int) -> None:
    """Show what a registry has on *port* for as long as the process lives."""
    shown = CollectorRegistry()
    shown.register(_OnLoop(registry, asyncio.get_running_loop()))
    try:
        start_http_server(port, registry=shown)
    except OSError as error:
        raise CannotStart(
            f"WORKER_METRICS_PORT {port} cannot be used ({error.strerror}): name a free one."
        ) from None


def main() -> None:
    """Read the settings and work; a start that fails says why in one sentence."""
    try:
        settings = load_settings()
        if settings.database_url is None or not settings.run_batches:
            raise BadSetting("a worker needs DATABASE_URL, and RUN_BATCHES not to be false.")
        configure(settings.log_level, settings.log_format)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work(settings))
    except (BadSetting, CannotStart) as error:
        sys.exit(f"Cannot start: {error}")


if __name__ == "__main__":
    main()
