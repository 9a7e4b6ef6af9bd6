"""Deliberate breaks of the service, and for each a test that fails when it is in place.

Each is a mistake that was made somewhere, or nearly made here, and that costs rows or doubles them.
"""

from dataclasses import dataclass

EXACTLY_ONCE = "tests/integration/test_exactly_once.py::"
FURTHER = "tests/integration/test_further_directory_batches.py::"
INTERRUPTIONS = "tests/integration/test_interruptions.py::"
SERVICE = "tests/integration/test_batch_service.py::"
CLOCKS = "tests/integration/test_clock_steps.py::"
FILES = "tests/unit/test_json_files.py::"
PACING = "tests/unit/test_pacing.py::"


@dataclass(frozen=True, slots=True)
class Break:
    """One mistake.

    Attributes:
        mistake: What the service does wrong, in words.
        file: Where, from the project's root.
        old: The text that stands there, once.
        new: What the mistake makes of it.
        killer: The test that must fail, as pytest names it.
    """

    mistake: str
    file: str
    old: str
    new: str
    killer: str


BREAKS = (
    Break(
        "a read timeout counts as not sent, so the row goes again",
        "services/hospital_api.py",
        'return Unknown("the directory did not answer in time")',
        'return NotSent("the directory did not answer in time")',
        "?",
    ),
    Break(
        "a gateway's 404 is read as an empty batch",
        "services/hospital_api.py",
        """        if reply.status_code == 404 and _detail(reply).startswith(NO_BATCH):
            return Listed(())""",
        """        if reply.status_code == 404:
            return Listed(())""",
        "?",
    ),
    Break(
        "an unreadable answer to a create counts as refused",
        "services/hospital_api.py",
        """        return Unknown("the directory's answer could not be read")""",
        """        return Unexpected("the directory's answer could not be read")""",
        "?",
    ),
    Break(
        "settling is ignored",
        "services/settling.py",
        "        return not self._in_doubt\n",
        "        return True\n",
        "?",
    ),
    Break(
        "one look settles instead of two",
        "services/settling.py",
        """            self._first_answer_s = answered_s
        elif""",
        """            self._in_doubt = False
        elif""",
        "?",
    ),
    Break(
        "the settling time counts from the first look's sending, not from its answer",
        "services/settling.py",
        "            self._first_answer_s = answered_s\n",
        "            self._first_answer_s = sent_s\n",
        "?",
    ),
    Break(
        "a doubt that comes later does not begin the settling anew",
        "services/settling.py",
        """        self._in_doubt = True
        self._first_answer_s = None
""",
        """        self._in_doubt = True
""",
        "?",
    ),
    Break(
        "a batch is activated although rows are missing",
        "services/batch_runner.py",
        """                if not all(row.is_done for row in run.batch.rows):
                    return shortfall(run.batch)
""",
        "",
        "?",
    ),
    Break(
        "a batch is activated on a list from which copies were just deleted",
        "services/batch_runner.py",
        """            await self._activation.delete(run, (*plan.surplus, *plan.stranded.values()))
            return False
""",
        """            await self._activation.delete(run, (*plan.surplus, *plan.stranded.values()))
            return True
""",
        "?",
    ),
    Break(
        "a batch is activated on a list that lacked rows, which were sent since",
        "services/batch_runner.py",
        """            await self._sender.send(run)
            return False
        return True
""",
        """            await self._sender.send(run)
        return True
""",
        "?",
    ),
    Break(
        "an activation is believed, whatever its activated_count",
        "services/batch_runner.py",
        """                await self._activate(run, plan)
""",
        """                await self._activate(run, plan)
                for row in run.batch.rows:
                    self._tracker.set_row(
                        run.batch,
                        row.hospital.row,
                        RowStatus.CREATED_AND_ACTIVATED,
                        hospital_id=row.hospital_id,
                    )
                return BatchStatus.COMPLETED, None
""",
        "?",
    ),
    Break(
        "an activation in doubt is not settled",
        "services/activation.py",
        """                run.change_error = reason
                run.doubt()
            case RateLimited():
                raise turned_away(outcome)
            case Unexpected():
                run.doubt()
                raise""",
        """                run.change_error = reason
            case RateLimited():
                raise turned_away(outcome)
            case Unexpected():
                run.doubt()
                raise""",
        "?",
    ),
    Break(
        "a full batch counts as a refusal of the row",
        "services/row_sender.py",
        """                move(RowStatus.PENDING, error="the directory says that the batch is full")
                run.doubt()
""",
        """                move(RowStatus.FAILED, error="the batch is full", refused=True)
""",
        "?",
    ),
    Break(
        "a create with an unknown outcome is sent again without a look",
        "services/row_sender.py",
        """                move(RowStatus.VERIFYING, error=reason)
                run.doubt()
""",
        """                move(RowStatus.PENDING, error=reason)
""",
        "?",
    ),
    Break(
        "a request refused with 429 counts as a try",
        "services/row_sender.py",
        """        if not isinstance(outcome, RateLimited):
            run.attempts[number] += 1
""",
        """        run.attempts[number] += 1
""",
        "?",
    ),
    Break(
        "a hospital is deleted by its id without a look before",
        "services/patient_directory.py",
        """            if found.hospital != copy:
                return Absent()
""",
        "",
        "?",
    ),
    Break(
        "a whole directory batch is deleted although a hospital of it is active",
        "services/abandonment.py",
        "            if active:\n",
        "            if active and len(active) == len(look.hospitals):\n",
        "?",
    ),
    Break(
        "an abandon does not settle before it deletes",
        "services/abandonment.py",
        "in_doubt=batch.doubtful)",
        "in_doubt=False)",
        "?",
    ),
    Break(
        "an abandon does not settle after it deleted",
        "services/abandonment.py",
        """                if batch.doubtful:
                    settling.doubt()  # a create that is under way survives a delete
""",
        """                pass
""",
        "?",
    ),
    Break(
        "`abandoning` is not durable when the delete is sent",
        "services/abandonment.py",
        "        await self._tracker.announce(batch, BatchStatus.ABANDONING, failure_reason=None)\n",
        "        self._tracker.set_status(batch, BatchStatus.ABANDONING)\n",
        "?",
    ),
    Break(
        "an abandon forgets the further directory batches",
        "services/abandonment.py",
        "        for directory_batch_id in batch.directory_batch_ids:\n",
        "        for directory_batch_id in batch.directory_batch_ids[:1]:\n",
        "?",
    ),
    Break(
        "a row is added to a directory batch that has an active one",
        "services/batch_runner.py",
        "            if run.batch.directory_batch_ids[-1] in plan.closed:\n",
        "            if run.batch.directory_batch_ids[-1] is None:\n",
        "?",
    ),
    Break(
        "the counter of directory batches is not durable before their first create",
        "services/batch_runner.py",
        """        try:
            await self._tracker.announce(
                batch, BatchStatus.PROCESSING, directory_batches=batch.directory_batches + 1
            )
        except StorageUnavailable:
            raise not_saved() from None
""",
        """        batch.directory_batches += 1
""",
        "?",
    ),
    Break(
        "a look sees the first directory batch only",
        "services/patient_directory.py",
        "for one in batch.directory_batch_ids]",
        "for one in batch.directory_batch_ids[:1]]",
        "?",
    ),
    Break(
        "hospitals left out by a partial activation stay where they are",
        "services/batch_runner.py",
        "            await self._activation.delete(run, (*plan.surplus, *plan.stranded.values()))\n",
        "            await self._activation.delete(run, plan.surplus)\n",
        "?",
    ),
    Break(
        "a checkpoint is written in place, without a rename",
        "services/storage/json_files.py",
        """                os.replace(temporary, self._path(batch.id))
""",
        """                self._path(batch.id).write_bytes(document)
                os.unlink(temporary)
""",
        "?",
    ),
    Break(
        "a checkpoint is renamed before it is on the disk (no fsync)",
        "services/storage/json_files.py",
        """                    os.fsync(file.fileno())
""",
        "",
        "?",
    ),
    Break(
        "the rename of a checkpoint is not on the disk (no fsync of the folder)",
        "services/storage/json_files.py",
        """                raise
            self._sync_folder()
""",
        """                raise
""",
        "?",
    ),
    Break(
        "an upload is accepted before its checkpoint is written",
        "services/progress_tracker.py",
        """        try:
            await self._save(batch)
        except StorageUnavailable:
            # The write may have failed only at its last step, after the document was in place.
            with contextlib.suppress(StorageError):
                await _in_thread(self._storage.delete, batch.id)
            raise
        self._batches[batch.id] = batch
""",
        """        self._batches[batch.id] = batch
        self._write_soon(batch)
""",
        "?",
    ),
    Break(
        "an older snapshot may replace a newer one",
        "services/progress_tracker.py",
        "        return self._locks.setdefault(batch.id, asyncio.Lock())\n",
        "        return asyncio.Lock()\n",
        "?",
    ),
    Break(
        "the limiter lets one request more through",
        "services/pacing.py",
        """    if pace.limit == 0 or len(sent_s) < pace.limit:
        return 0.0
    return max(0.0, sent_s[-pace.limit]""",
        """    if pace.limit == 0 or len(sent_s) <= pace.limit:
        return 0.0
    return max(0.0, sent_s[-pace.limit - 1]""",
        "?",
    ),
    Break(
        "the limiter forgets what an earlier process sent",
        "services/batch_service.py",
        "        self._directory.remember_creates(send_ages_s)\n",
        "",
        "?",
    ),
    Break(
        "sends are remembered only after their answer",
        "services/pacing.py",
        """                self._sent_s.append(now_s)
                self._note_send()
""",
        """                self._sent_s.append(now_s)
                loop.call_later(5.0, self._note_send)
""",
        "?",
    ),
    Break(
        "a resume is a cursor: it begins after the last row that was created",
        "services/row_sender.py",
        "        pending = [row.hospital.row for row in batch.rows if row.status is RowStatus.PENDING]\n",
        """        last = max((row.hospital.row for row in batch.rows if row.is_done), default=0)
        pending = [
            row.hospital.row
            for row in batch.rows
            if row.status is RowStatus.PENDING and row.hospital.row > last
        ]
""",
        "?",
    ),
    Break(
        "a resume sends before it looks",
        "services/batch_runner.py",
        "        if not again:\n",
        "        if True:\n",
        "?",
    ),
    Break(
        "rows that a crash interrupted are sent again at once",
        "services/housekeeping.py",
        "batch, row.hospital.row, RowStatus.VERIFYING, error=",
        "batch, row.hospital.row, RowStatus.PENDING, error=",
        "?",
    ),
    Break(
        "what a crash interrupted is not settled",
        "services/housekeeping.py",
        "        batch.doubtful = batch.unsettled = True\n",
        "",
        "?",
    ),
    Break(
        "a resume takes no claim, so that two may run",
        "services/batch_service.py",
        "        if batch.status is not BatchStatus.RESUMABLE or batch_id in self._claims:\n",
        "        if batch.status is not BatchStatus.RESUMABLE:\n",
        "?",
    ),
    Break(
        "an abandon takes no claim",
        "services/batch_service.py",
        "        if batch.status not in _ABANDONABLE or batch_id in self._claims:\n",
        "        if batch.status not in _ABANDONABLE:\n",
        "?",
    ),
    Break(
        "a cleanup takes no claim",
        "services/housekeeping.py",
        "        if batch.id in self._claims or batch.id not in self._tracker:\n",
        "        if batch.id not in self._tracker:\n",
        "?",
    ),
    Break(
        "a resume does not ask whose directory it was",
        "services/batch_service.py",
        """            raise BatchConflict(_cannot_resume(batch))
        self._check_directory(batch)
""",
        """            raise BatchConflict(_cannot_resume(batch))
""",
        "?",
    ),
    Break(
        "the age of a batch is measured on the wall clock",
        "services/housekeeping.py",
        "batch.changed_s <= oldest_s\n",
        "(self._tracker.wall_clock() - batch.updated_at).total_seconds()\n"
        "            >= self._rules.keep_completed_s\n",
        "?",
    ),
    Break(
        "hospitals that somebody else put into the batch are deleted",
        "services/batch_runner.py",
        """        if plan.foreign:
            raise foreign_hospitals(plan.foreign)
        if plan.surplus or plan.stranded:
""",
        """        if plan.foreign:
            await self._activation.delete(run, plan.foreign)
            return False
        if plan.surplus or plan.stranded:
""",
        "?",
    ),
    Break(
        "of identical copies the newest stays, although an older one is active",
        "services/reconciliation.py",
        "        return not copy.active, _is_leftover(copy, closed), copy.id\n",
        "        return False, _is_leftover(copy, closed), -copy.id\n",
        "?",
    ),
    Break(
        "a create that is under way is cancelled with its run",
        "services/batch_service.py",
        "        loop.call_later(self._rules.shutdown_grace_s, self._claims.cancel_all)\n",
        "        loop.call_later(0.0, self._claims.cancel_all)\n",
        "?",
    ),
)
