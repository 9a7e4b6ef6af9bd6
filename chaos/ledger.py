"""What was sent and what was seen of it: one entry for each upload."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from chaos.files import Content, corrected, file_name, is_sound
from chaos.journal import Journal
from chaos.scale import ALONE, Times
from chaos.schedule import Upload
from chaos.verdict import Answer, Finding, Standing, Wrong

# What has ended for longer than this, the service may forget before an upload that is sent again
# has arrived: it would rightly become another batch.
MOMENT_S = 2.0

STOPPED = ("resumable", "failed")


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch as a checkpoint or the service's progress shows it.

    Attributes:
        updated_at: Seconds since the epoch, by the service's clock, which is ours.
        file_name: What tells whose it is.
        runs: How often it was run again, by a resume or by itself.
        rows: What they hold; of a checkpoint only.
    """

    batch_id: str
    status: str
    updated_at: float
    file_name: str
    runs: int = 0
    rows: tuple[Content, ...] = ()


@dataclass(slots=True)
class Entry:
    """One upload and what is known of it.

    Attributes:
        answered_at: When its client knew what it knows (seconds since the epoch).
        updated_at: Of the last status that was seen (seconds since the epoch).
        taken_back: Abandons asked for and neither refused nor known to have failed.
        abandoned: An abandon was answered with 200.
        completed_in: The directory's life in which it was first seen completed.
        unchecked: It completed just when the directory forgot: no listing could show it.
        stopped_at: Since when it was resumable or failed when last seen (seconds since the epoch).
        outlived: It went when it had been stopped for so long that retention takes it back.
        cancelled_at: When a cancel that still holds was told (seconds since the epoch).
        cancelled_run: The run that was cancelled, by its number.
        resumed_until: Until when a resume that was sent may be carried out (since the epoch).
        sent_until: Until when an upload that was not answered may arrive all the same.
        rows: What each row may hold: more than one content while the outcome of a correction is
            not known.
        contents: Every content that a row ever had or was to get.
    """

    plan: Upload
    answer: Answer = Answer.OPEN
    answered_at: float = 0.0
    batch_id: str | None = None
    status: str | None = None
    updated_at: float = 0.0
    kept: bool = False
    taken_back: int = 0
    abandoned: bool = False
    damaged: bool = False
    completed_in: int | None = None
    unchecked: bool = False
    stopped_at: float = inf
    outlived: bool = False
    cancelled_at: float | None = None
    cancelled_run: int = 0
    resumed_until: float = 0.0
    sent_until: float = 0.0
    rows: list[tuple[Content, ...]] = field(init=False)
    contents: list[Content] = field(init=False)

    def __post_init__(self) -> None:
        self.contents = list(self.plan.contents)
        self.rows = [(content,) for content in self.contents]

    @property
    def undecided(self) -> bool:
        """Whether the outcome of a correction is not known."""
        return any(len(possible) > 1 for possible in self.rows)

    def would_join(self, now: float) -> bool:
        """Return whether the upload, sent again at *now* under its name, must find its batch.

        Of an upload that has become no batch yet it would become the first.
        """
        if self.batch_id is None:
            return True
        if not self.kept or self.damaged or self.taken_back or self.status == "abandoning":
            return False
        has_ended = self.status in ("completed", *STOPPED)
        return not has_ended or now - self.updated_at < MOMENT_S

    @property
    def retained(self) -> bool:
        """Whether retention took it back, as far as can be told from outside."""
        return self.outlived and not (self.kept or self.damaged or self.taken_back)


class Ledger:
    """Every upload, found by batch id or the name of its file.

    The directory lives several lives: it forgets everything at the end of each.

    Args:
        journal: Where what is seen is noted.
        times: When what is seen says something.
    """

    def __init__(self, journal: Journal, times: Times = ALONE) -> None:
        self._journal = journal
        self._times = times
        self._by_file: dict[str, Entry] = {}
        self._by_batch: dict[str, Entry] = {}
        self.entries: list[Entry] = []
        self.findings: dict[Finding, None] = {}  # a set that keeps its order
        self.life = 0
        self._forgotten_at = 0.0
        self._stalls: list[tuple[float, float]] = []

    @property
    def batch_ids(self) -> list[str]:
        """Every batch that was ever seen."""
        return list(self._by_batch)

    def begin(self, plan: Upload) -> Entry:
        """Enter an upload that is about to be sent."""
        entry = Entry(plan)
        self.entries.append(entry)
        self._by_file[file_name(plan.number)] = entry
        return entry

    def answered(self, entry: Entry, answer: Answer, now: float) -> None:
        """Note what the client of an upload was told, at *now* (seconds since the epoch)."""
        entry.answer, entry.answered_at = answer, now

    def unanswered(self, entry: Entry, now: float) -> None:
        """Note that the client of an upload gave up at *now* (seconds since the epoch)."""
        entry.sent_until = now + self._times.hanging_s

    def stalled(self, since: float, until: float) -> None:
        """Note that some of the service stood still in between (seconds since the epoch)."""
        self._stalls.append((since, until))

    def of_batch(self, batch_id: str) -> Entry | None:
        """Return the upload of a batch, if it is known yet."""
        return self._by_batch.get(batch_id)

    def see(self, seen: Seen) -> None:
        """Take note of one batch; what is older than what is known already tells nothing."""
        entry = self._by_file.get(seen.file_name)
        if entry is None:
            self.found(Finding(Wrong.LOST, f"{seen} belongs to no upload"))
            return
        self.learn(entry, seen.batch_id)
        self._check_cancel(entry, seen)
        self._check_rows(entry, seen)
        if seen.updated_at < entry.updated_at or entry.status == seen.status == "completed":
            return
        entry.updated_at = seen.updated_at
        if seen.status in STOPPED:
            entry.stopped_at = seen.updated_at
        elif seen.status != "abandoning":
            entry.stopped_at = inf
        if seen.status == entry.status:
            return
        self._journal.note(
            f"upload {entry.plan.number}, batch {seen.batch_id}: {entry.status} -> {seen.status}"
        )
        if entry.status == "completed":
            self.found(Finding(Wrong.LOST, f"{seen} was completed: {_standing(entry)}"))
        entry.status = seen.status
        if seen.status == "completed":
            entry.completed_in = self.life
            entry.unchecked = self._is_unchecked(seen.updated_at)

    def learn(self, entry: Entry, batch_id: str) -> None:
        """Note the batch of an upload; it has one, for good."""
        if entry.batch_id is None:
            entry.batch_id = batch_id
            self._by_batch[batch_id] = entry
        elif entry.batch_id != batch_id:
            self.found(Finding(Wrong.DOUBLED, f"{batch_id}: a second batch of {_standing(entry)}"))

    def resuming(self, entry: Entry) -> None:
        """Note that a resume is about to be sent: from now on the batch may go on."""
        entry.cancelled_at, entry.resumed_until = None, inf

    def resumed(self, entry: Entry, now: float, *, answered: bool) -> None:
        """Note that the client of a resume has its answer, or has none and gave up."""
        entry.resumed_until = now if answered else now + self._times.handled_s

    def cancelled(self, entry: Entry, asked_at: float, now: float, run: int) -> None:
        """Note that a cancel of *run* was told at *now*; a resume may have overtaken it."""
        if asked_at > entry.resumed_until:
            entry.cancelled_at, entry.cancelled_run = now, run

    def correcting(self, entry: Entry, row: int) -> Content:
        """Return the content that a row is about to get by a correction: it may, from now on."""
        content = corrected(entry.plan.contents[row - 1], len(entry.contents))
        entry.contents.append(content)
        entry.rows[row - 1] += (content,)
        return content

    def corrected(self, entry: Entry, row: int, content: Content, *, made: bool) -> None:
        """Note that a correction was made, or was refused."""
        others = tuple(old for old in entry.rows[row - 1] if old != content)
        entry.rows[row - 1] = (content,) if made else others

    def see_kept(self, kept: Iterable[Seen], now: float) -> None:
        """Take note of every batch that the service keeps at *now*: of the others it has none."""
        batches = {seen.batch_id: seen for seen in kept}
        for seen in batches.values():
            self.see(seen)
        for entry in self.entries:
            was_kept, entry.kept = entry.kept, entry.batch_id in batches
            if was_kept and not entry.kept:
                entry.outlived = now - entry.stopped_at >= self._times.retention_s
            if entry.kept and entry.abandoned:
                self.found(Finding(Wrong.LOST, f"abandoned, yet kept: {_standing(entry)}"))

    def forgotten(self, now: float) -> None:
        """Note that the directory has just forgotten everything, at *now* (since the epoch)."""
        self.life += 1
        self._forgotten_at = now

    def standings(self, now: float) -> list[Standing]:
        """Return what is known of each upload, at *now* (seconds since the epoch)."""
        return [
            Standing(
                upload=entry.plan.number,
                rows=_wanted(entry),
                others=tuple(filter(is_sound, entry.contents)),
                undecided=entry.undecided,
                answer=entry.answer,
                batch_id=entry.batch_id,
                status=entry.status,
                kept=entry.kept,
                checked=self._is_checked(entry),
                taken_back=entry.abandoned or entry.taken_back > 0 or entry.outlived,
                damaged=entry.damaged,
                handled=entry.answer is Answer.UNKNOWN
                and now - entry.answered_at > self._times.handled_s,
            )
            for entry in self.entries
        ]

    def found(self, finding: Finding) -> None:
        """Keep a finding, once."""
        if finding not in self.findings:
            self.findings[finding] = None
            self._journal.note(f"WRONG {finding.kind}: {finding.what}")

    def _check_cancel(self, entry: Entry, seen: Seen) -> None:
        """Find out a cancelled batch that goes on though nobody resumed it.

        One that another process has just taken over comes to rest in that run.
        """
        if entry.cancelled_at is None:
            return
        if (
            seen.status == "completed"
            or (seen.runs > entry.cancelled_run and seen.status != "resumable")
            or (seen.status == "activating" and seen.updated_at > entry.cancelled_at)
        ):
            what = f"cancelled in run {entry.cancelled_run}, then {seen.status} in run {seen.runs}"
            self.found(Finding(Wrong.WENT_ON, f"{what}: {_standing(entry)}"))
            entry.cancelled_at = None

    def _check_rows(self, entry: Entry, seen: Seen) -> None:
        """Find out a correction that was told and is not on disk; learn which of others are."""
        for row, (content, possible) in enumerate(zip(seen.rows, entry.rows, strict=False), 1):
            if content not in possible:
                what = f"row {row} holds {content}, not {possible}: {_standing(entry)}"
                self.found(Finding(Wrong.UNDONE, what))
            elif seen.status == "completed":  # no correction comes after it
                entry.rows[row - 1] = (content,)

    def _is_unchecked(self, completed_at: float) -> bool:
        """Return whether the directory forgot after the look on which a completion was said."""
        stood_still_s = sum(
            max(0.0, min(until, completed_at) - max(since, self._forgotten_at))
            for since, until in self._stalls
        )
        age_s = completed_at - self._forgotten_at - stood_still_s
        return age_s < self._times.unchecked_s

    def _is_checked(self, entry: Entry) -> bool:
        if entry.completed_in is None:
            return False
        return entry.unchecked or entry.completed_in < self.life


def _wanted(entry: Entry) -> tuple[Content, ...]:
    """Return what the directory is to have of the rows whose content is decided."""
    decided = (possible[0] for possible in entry.rows if len(possible) == 1)
    return tuple(content for content in decided if is_sound(content))


def _standing(entry: Entry) -> str:
    return f"upload {entry.plan.number} ({entry.answer}), batch {entry.batch_id}, {entry.status}"
