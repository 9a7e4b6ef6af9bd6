"""How fast everything is: the directory's real proportions, some fifty times as fast.

All times are seconds.
"""

from dataclasses import dataclass

CREATE_S = 0.1  # really 5
PERIOD_S = 1.2  # really 60
SETTLE_S = 1.5  # really 15: not as much shorter, since a busy machine stalls as it always did
GRACE_S = 1.0  # really 8
WAKE_S = 3.0  # really 90
PATIENCE_S = 1.0  # of the service with one request; really 30
CLEANUP_AGE_S = 8.0  # really a day
RETENTION_S = 5.0  # really a week; most batches that are looked after are resumed earlier

# A create that is carried out later than SETTLE_S after the directory answered again is outside
# the promise (README, "Limits"; docs/decisions/0002): nobody outside the directory can rule it
# out. So no late fault is later than this; the rest is for the machine's own stalls. It is longer
# than a service takes that sends a row again without settling, so that such a one is found out.
LATE_S = 1.0

# The service's own, not to be set: a process that was not seen for so long lost its batches.
LEASE_S = 6.0
# At most is a process frozen; long enough for another to bring its batches to their ends meanwhile.
FROZEN_S = 20.0
# A turn of the shared pacing is used within 0.3 s: really 1, as it is for one process.
SHARED_MARGIN_S = 0.4
AWAY_S = 5.0  # at most is the database away, its restart included

# A SIGTERM'd service has its grace, and this to write its last checkpoints or to finish starting.
EXIT_MARGIN_S = 4.0

PART_ROWS = 5  # of a directory batch, really 20: a larger file is sent in parts

SERVICE: dict[str, str | float] = {
    "directory_batch_limit": PART_ROWS,
    "max_csv_size": 30,
    "log_level": "DEBUG",  # a line for each create: what happened to a row can be read there
    "settle_seconds": SETTLE_S,
    "rate_limit_period_seconds": PERIOD_S,
    "rate_limit_margin_seconds": 0.1,
    "wake_timeout_seconds": WAKE_S,
    "shutdown_grace_seconds": GRACE_S,
    "http_timeout_seconds": PATIENCE_S,
    "http_connect_timeout_seconds": 1.0,
    "progress_cleanup_hours": CLEANUP_AGE_S / 3600,
    "resumable_retention_hours": RETENTION_S / 3600,
    "max_requests_per_second": 0,
}


@dataclass(frozen=True, slots=True)
class Times:
    """How long what was seen may say nothing yet, and when the service ends old batches.

    Attributes:
        unchecked_s: A completion is said on a look that is a moment old: when the directory forgets
            in between, the service cannot know (README, "Limits"). One that went on after a restart
            takes longer than this, since it finds its rows gone and has to settle and create them
            again.
        handled_s: The service is done with a request whose client has left after this.
        hanging_s: A request that was sent and not answered may arrive as late as this.
        cleanup_age_s: Completed batches are forgotten at this age.
        retention_s: Stopped ones are abandoned at this age.
    """

    unchecked_s: float = 1.0
    handled_s: float = 5.0
    hanging_s: float = 0.0
    cleanup_age_s: float = CLEANUP_AGE_S
    retention_s: float = RETENTION_S


ALONE = Times()
# A process that is frozen, or waits for its database, goes on with a request when that is over.
# Nothing may be forgotten meanwhile: the same upload sent again would rightly be another batch.
SEVERAL = Times(
    handled_s=FROZEN_S + AWAY_S + 5.0,
    hanging_s=FROZEN_S + AWAY_S + 1.0,
    cleanup_age_s=FROZEN_S + AWAY_S + 4.0,
    retention_s=FROZEN_S + AWAY_S + 4.0,
)

DIRECTORY = (
    *("--create-seconds", str(CREATE_S)),
    *("--period", str(PERIOD_S)),
    *("--batch-limit", str(PART_ROWS)),
)
