"""Runs batches without serving HTTP: `python -m worker`, as many as wanted, beside DATABASE_URL."""

import asyncio
import signal
import sys

import uvloop

from config import BadSetting, Settings, load_settings
from lifecycle import CannotStart
from services.logs import configure, get_logger
from services.meters import Meters
from wiring import running_service

logger = get_logger("hospital_bulk")


async def work(settings: Settings) -> None:
    """Run batches until SIGTERM or SIGINT; CannotStart if that is not possible."""
    async with running_service(settings, Meters(settings.app_version)) as service:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        logger.info("worker started")
        await service.wait_until_stopping()


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
