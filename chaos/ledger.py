"""What was sent and what was seen of it: one entry for each upload."""

from collections.abc import Iterable
from dataclasses import dataclass

from chaos.files import Content
from chaos.journal import Journal
from chaos.schedule import Upload
from chaos.verdict import Answer, Finding, Standing, Wrong

# A completion is said on a look that is a moment old: when the directory forgets in between, the
# service cannot know (README, "Limits"). One that went on after a restart takes longer than this,
# since it finds its rows gone and has to settle and create them again.
UNCHECKED_S = 1.0
# The service is done with a request whose client has left, one way or the other, after this.
HANDLED_S = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch as a checkpoint or the service's progress shows it.

    Attributes:
        updated_at: Seconds since the epoch, by the service's clock, which is ours.
        content: Its first row, which tells whose it is.
    """

    batch_id: str
    status: str
    updated_at: float
    content: Content


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


class Ledger:
    """Every upload, found by batch id or content.

    The directory lives several lives: it forgets everything at the end of each.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._by_content: dict[Content, Entry] = {}
        self._by_batch: dict[str, Entry] = {}
        self.entries: list[Entry] = []
        self.findings: dict[Finding, None] = {}  # a set that keeps its order
        self.life = 0
        self._forgotten_at = 0.0

    @property
    def batch_ids(self) -> list[str]:
        """Every batch that was ever seen."""
        return list(self._by_batch)

    def begin(self, plan: Upload) -> Entry:
        """Enter an upload that is about to be sent."""
        entry = Entry(plan)
        self.entries.append(entry)
        self._by_content |= dict.fromkeys(plan.contents, entry)
        return entry

    def answered(self, entry: Entry, answer: Answer, now: float) -> None:
        """Note what the client of an upload was told, at *now* (seconds since the epoch)."""
        entry.answer, entry.answered_at = answer, now

    def of_batch(self, batch_id: str) -> Entry | None:
        """Return the upload of a batch, if it is known yet."""
        return self._by_batch.get(batch_id)

    def see(self, seen: Seen) -> None:
        """Take note of one batch; what is older than what is known already tells nothing."""
        entry = self._by_content.get(seen.content)
        if entry is None:
            self.found(Finding(Wrong.LOST, f"{seen} belongs to no upload"))
            return
        self.learn(entry, seen.batch_id)
        if seen.updated_at < entry.updated_at or seen.status == entry.status:
            return
        self._journal.note(
            f"upload {entry.plan.number}, batch {seen.batch_id}: {entry.status} -> {seen.status}"
        )
        if entry.status == "completed":
            self.found(Finding(Wrong.LOST, f"{seen} was completed: {_standing(entry)}"))
        entry.status, entry.updated_at = seen.status, seen.updated_at
        if seen.status == "completed":
            entry.completed_in = self.life
            entry.unchecked = seen.updated_at < self._forgotten_at + UNCHECKED_S

    def learn(self, entry: Entry, batch_id: str) -> None:
        """Note the batch of an upload; it has one, for good."""
        if entry.batch_id is None:
            entry.batch_id = batch_id
            self._by_batch[batch_id] = entry
        elif entry.batch_id != batch_id:
            self.found(Finding(Wrong.DOUBLED, f"{batch_id}: a second batch of {_standing(entry)}"))

    def see_kept(self, kept: Iterable[Seen]) -> None:
        """Take note of every batch that the service keeps: of the others it has none."""
        batches = {seen.batch_id: seen for seen in kept}
        for seen in batches.values():
            self.see(seen)
        for entry in self.entries:
            entry.kept = entry.batch_id in batches
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
                rows=entry.plan.contents,
                answer=entry.answer,
                batch_id=entry.batch_id,
                status=entry.status,
                kept=entry.kept,
                checked=self._is_checked(entry),
                taken_back=entry.abandoned or entry.taken_back > 0,
                damaged=entry.damaged,
                handled=entry.answer is Answer.UNKNOWN and now - entry.answered_at > HANDLED_S,
            )
            for entry in self.entries
        ]

    def found(self, finding: Finding) -> None:
        """Keep a finding, once."""
        if finding not in self.findings:
            self.findings[finding] = None
            self._journal.note(f"WRONG {finding.kind}: {finding.what}")

    def _is_checked(self, entry: Entry) -> bool:
        if entry.completed_in is None:
            return False
        return entry.unchecked or entry.completed_in < self.life


def _standing(entry: Entry) -> str:
    return f"upload {entry.plan.number} ({entry.answer}), batch {entry.batch_id}, {entry.status}"
