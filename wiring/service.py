"""Builds the service: the one place where settings become values."""

from collections.abc import Callable
from dataclasses import dataclass

from config import Settings
from services.abandonment import Abandonment
from services.batch_run import RunPolicy
from services.batch_runner import BatchRunner
from services.batch_service import BatchService, ServiceRules
from services.claims import Claims
from services.directory_waker import DirectoryWaker
from services.execution import RunsAnywhere, RunsHere
from services.hospital_api import HospitalApi
from services.housekeeping import Housekeeping, HouseRules
from services.meters import Meters
from services.pacing import Budgets, Pace
from services.patient_directory import Lanes, PatientDirectory
from services.peers import NoPeers, SharingPeers
from services.progress_tracker import ProgressTracker


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a process shares with others.

    Attributes:
        budgets: Those of the directory's endpoints.
        peers: The others.
    """

    budgets: Budgets
    peers: SharingPeers


def build_service(
    settings: Settings,
    api: HospitalApi,
    tracker: ProgressTracker,
    note_create: Callable[[], None],
    meters: Meters | None = None,
    sharing: Sharing | None = None,
) -> BatchService:
    """Put the service together.

    Args:
        settings: What was set.
        api: The directory.
        tracker: What is known of batches.
        note_create: Called immediately before each create leaves.
        meters: What is counted.
        sharing: What is shared with other processes; None: nothing.
    """
    meters = meters or Meters()
    margin_s = settings.rate_limit_margin_seconds
    window_s = settings.rate_limit_period_seconds + margin_s
    lookup_limit = settings.lookup_rate_limit if settings.create_rate_limit else 0
    meters.show_batches(tracker.count)
    lanes = Lanes(
        create=Pace(settings.create_rate_limit, window_s),
        lookup=Pace(lookup_limit, window_s),
        max_in_flight=settings.max_concurrent_requests,
        note_create=note_create,
        changed=tracker.watchers.tell_all,
        creates_to_come=tracker.pending_rows,
        creates_elsewhere=tracker.pending_elsewhere if sharing else tuple,
        meters=meters,
        budgets=sharing.budgets if sharing else None,
    )
    meters.show_creates(
        waiting=lambda: lanes.create.waiting,
        under_way=lambda: lanes.create.under_way,
        budget_left=lambda: lanes.create.turns_left,
    )
    waker = DirectoryWaker(api, settings.wake_timeout_seconds, tracker.watchers.tell_all)
    peers = sharing.peers if sharing else NoPeers()
    directory = PatientDirectory(api, lanes, waker, meters, peers)
    policy = RunPolicy(
        settings.settle_seconds, settings.max_attempts, settings.max_concurrent_requests
    )
    runner = BatchRunner(directory, tracker, policy, meters)
    abandonment = Abandonment(directory, tracker, settings.settle_seconds)
    claims = Claims(peers, hands_over=settings.auto_resume)
    house_rules = HouseRules(
        directory_url=settings.hospital_api_base_url,
        auto_resume=settings.auto_resume,
        keep_completed_s=settings.progress_cleanup_hours * 3600,
        keep_stopped_s=settings.resumable_retention_hours * 3600,
    )
    rules = ServiceRules(
        directory_url=settings.hospital_api_base_url,
        max_rows=settings.max_csv_size,
        part_rows=settings.directory_batch_limit,
        max_batches=settings.max_queued_batches,
        max_batches_per_owner=settings.max_batches_per_caller,
        shutdown_grace_s=settings.shutdown_grace_seconds,
    )
    housekeeping = Housekeeping(tracker, claims, runner, abandonment, house_rules, peers)
    execution = (
        RunsAnywhere(tracker, claims, runner, housekeeping, sharing.peers)
        if sharing
        else RunsHere(tracker, claims, runner)
    )
    service = BatchService(
        tracker, directory, execution, abandonment, claims, housekeeping, rules, peers
    )
    if sharing:
        tracker.outlook = service.outlook_here
        tracker.cancelled_elsewhere = runner.cancel
        tracker.lost = runner.lose
    return service


def open_api(settings: Settings) -> HospitalApi:
    """Return the way to the directory; it is closed with the service."""
    return HospitalApi(
        settings.hospital_api_base_url,
        timeout_s=settings.http_timeout_seconds,
        connect_timeout_s=settings.http_connect_timeout_seconds,
    )
