"""Deliberate breaks of the service, and for each a test that fails when it is in place.

Each is a mistake that was made somewhere, or nearly made here, and that costs rows or doubles them.
"""

from dataclasses import dataclass

EXACTLY_ONCE = "tests/integration/test_exactly_once.py::"
PARTS = "tests/integration/test_parts.py::"
TROUBLED_PARTS = "tests/integration/test_parts_in_trouble.py::"
FURTHER = "tests/integration/test_further_directory_batches.py::"
INTERRUPTIONS = "tests/integration/test_interruptions.py::"
SERVICE = "tests/integration/test_batch_service.py::"
CLOCKS = "tests/integration/test_clock_steps.py::"
CANCEL = "tests/integration/test_cancel.py::"
CORRECTIONS = "tests/integration/test_corrections.py::"
RETENTION = "tests/integration/test_retention.py::"
KEYS = "tests/integration/test_idempotency.py::"
OWNERS = "tests/integration/test_ownership.py::"
POLLING = "tests/integration/test_polling.py::"
WATCHING = "tests/integration/test_watching.py::"
FILES = "tests/unit/test_json_files.py::"
JOURNAL = "tests/unit/test_journal.py::"
PACING = "tests/unit/test_pacing.py::"
SETTLING = "tests/unit/test_settling.py::"
MATCHING = "tests/unit/test_reconciliation.py::"
SHARING = "tests/integration/test_shared_service.py::"
STORED = "tests/unit/storage/test_shared_batches.py::"
TURNS = "tests/unit/storage/test_turns.py::"
WRITES = "tests/unit/test_progress_tracker.py::"


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
        EXACTLY_ONCE + "test_a_create_that_is_applied_after_all_is_never_sent_again",
    ),
    Break(
        "a gateway's 404 is read as an empty batch",
        "services/hospital_api.py",
        """        if reply.status_code == 404 and _detail(reply).startswith(NO_BATCH):
            return Listed(())""",
        """        if reply.status_code == 404:
            return Listed(())""",
        EXACTLY_ONCE + "test_an_answer_from_something_in_between_ends_the_run_resumable",
    ),
    Break(
        "an unreadable answer to a create counts as refused",
        "services/hospital_api.py",
        """        return Unknown("the directory's answer could not be read")""",
        """        return Unexpected("the directory's answer could not be read")""",
        EXACTLY_ONCE + "test_a_create_that_goes_wrong_makes_no_row_lost_or_doubled",
    ),
    Break(
        "settling is ignored",
        "services/settling.py",
        "        return not self._in_doubt\n",
        "        return True\n",
        SETTLING + "test_what_an_earlier_run_left_unsettled_is_in_doubt_from_the_start",
    ),
    Break(
        "one look settles instead of two",
        "services/settling.py",
        """            self._first_answer_s = answered_s
        elif""",
        """            self._in_doubt = False
        elif""",
        SETTLING + "test_one_look_settles_nothing_however_late_it_is",
    ),
    Break(
        "the settling time counts from the first look's sending, not from its answer",
        "services/settling.py",
        "            self._first_answer_s = answered_s\n",
        "            self._first_answer_s = sent_s\n",
        SETTLING + "test_the_settling_time_counts_from_the_first_answer_not_from_the_first_look",
    ),
    Break(
        "a doubt that comes later does not begin the settling anew",
        "services/settling.py",
        """        self._in_doubt = True
        self._first_answer_s = None
""",
        """        self._in_doubt = True
""",
        SETTLING + "test_a_new_doubt_starts_over",
    ),
    Break(
        "a batch is activated although rows are missing",
        "services/batch_runner.py",
        """            if batch.is_lacking:
                return shortfall(batch)
""",
        """            if batch.is_lacking:
                for part in run.parts:
                    part.verified_s = 0.0
""",
        EXACTLY_ONCE + "test_a_row_that_runs_out_of_tries_fails_and_a_resume_sends_it_again",
    ),
    Break(
        "a batch is activated on a list from which copies were just deleted",
        "services/part_runner.py",
        """            await self._activation.delete(run, part, copies)
            return False
""",
        """            await self._activation.delete(run, part, copies)
            part.verified_s, part.inactive = clock.now_s(), plan.inactive
            return True
""",
        EXACTLY_ONCE + "test_surplus_copies_are_deleted_before_the_batch_is_activated",
    ),
    Break(
        "a batch is activated on a list that lacked rows, which were sent since",
        "services/part_runner.py",
        """            await self._sender.send(run, part)
            return False
        self._note(run, part, plan)
""",
        """            await self._sender.send(run, part)
            part.verified_s, part.inactive = clock.now_s(), plan.inactive
            return True
        self._note(run, part, plan)
""",
        EXACTLY_ONCE + "test_a_create_that_goes_wrong_makes_no_row_lost_or_doubled",
    ),
    Break(
        "an activation is believed, whatever its activated_count",
        "services/part_runner.py",
        """            await self._activation.activate(run, part, directory_batch_id, expected)
            await self.verify(run, part)
""",
        """            await self._activation.activate(run, part, directory_batch_id, expected)
            del part.inactive[directory_batch_id]
""",
        EXACTLY_ONCE + "test_an_activation_that_is_answered_but_has_no_effect_is_noticed",
    ),
    Break(
        "an activation in doubt is not settled",
        "services/activation.py",
        """                part.change_error = reason
                run.doubt(part)
            case RateLimited():
""",
        """                part.change_error = reason
            case RateLimited():
""",
        EXACTLY_ONCE + "test_an_activation_that_is_applied_late_is_not_sent_again_too_early",
    ),
    Break(
        "a full batch counts as a refusal of the row",
        "services/row_sender.py",
        """                move(RowStatus.PENDING, error="the directory says that the batch is full")
                run.doubt(part)
""",
        """                move(RowStatus.FAILED, error="the batch is full", refused=True)
""",
        EXACTLY_ONCE + "test_a_create_that_goes_wrong_makes_no_row_lost_or_doubled",
    ),
    Break(
        "a create with an unknown outcome is sent again without a look",
        "services/row_sender.py",
        """                move(RowStatus.VERIFYING, error=reason)
                run.doubt(part)
""",
        """                move(RowStatus.PENDING, error=reason)
""",
        EXACTLY_ONCE + "test_a_create_that_is_applied_after_all_is_never_sent_again",
    ),
    Break(
        "a request refused with 429 counts as a try",
        "services/row_sender.py",
        """        if not isinstance(outcome, RateLimited):
            run.attempts[number] += 1
""",
        """        run.attempts[number] += 1
""",
        EXACTLY_ONCE + "test_strangers_who_use_up_the_budget_cost_no_try",
    ),
    Break(
        "a hospital is deleted by its id without a look before",
        "services/patient_directory.py",
        """            if found.hospital != copy:
                return Absent()
""",
        "",
        EXACTLY_ONCE + "test_an_id_that_means_another_hospital_by_now_is_not_deleted",
    ),
    Break(
        "a whole directory batch is deleted although a hospital of it is active",
        "services/abandonment.py",
        "        if active:\n",
        "        if active and len(active) == len(look.hospitals):\n",
        SERVICE + "test_an_abandon_with_an_active_row_is_refused_and_deletes_nothing",
    ),
    Break(
        "an abandon does not settle before it deletes",
        "services/abandonment.py",
        "in_doubt=number in batch.doubtful)",
        "in_doubt=False)",
        SERVICE + "test_an_abandon_waits_for_creates_that_commit_late",
    ),
    Break(
        "an abandon does not settle after it deleted",
        "services/abandonment.py",
        """                if part.number in batch.doubtful:
                    part.settling.doubt()  # a create that is under way survives a delete
""",
        "",
        SERVICE + "test_an_abandon_of_a_batch_in_doubt_looks_again_after_its_delete",
    ),
    Break(
        "`abandoning` is not durable when the delete is sent",
        "services/abandonment.py",
        "        await self._tracker.announce(batch, BatchStatus.ABANDONING, failure_reason=None)\n",
        "        self._tracker.set_status(batch, BatchStatus.ABANDONING)\n",
        SERVICE + "test_an_abandon_that_could_not_be_stored_is_not_done_by_the_next_start",
    ),
    Break(
        "an abandon forgets the further directory batches",
        "services/abandonment.py",
        "self._directory.look(batch.id, batch.directory_batch_ids(part.number))",
        "self._directory.look(batch.id, batch.directory_batch_ids(part.number)[:1])",
        FURTHER + "test_an_abandon_empties_the_further_directory_batches_too",
    ),
    Break(
        "a row is added to a directory batch that has an active one",
        "services/part_runner.py",
        "            if run.batch.directory_batch_ids(part.number)[-1] in plan.closed:\n",
        "            if run.batch.directory_batch_ids(part.number)[-1] is None:\n",
        FURTHER + "test_what_a_partial_activation_left_out_is_created_anew_and_activated",
    ),
    Break(
        "the counter of directory batches is not durable before their first create",
        "services/part_runner.py",
        """            await make_known(self._tracker, batch, further={**batch.further, part.number: further})
""",
        "            batch.further = {**batch.further, part.number: further}\n",
        FURTHER + "test_nothing_is_sent_to_a_further_directory_batch_that_could_not_be_made_known",
    ),
    Break(
        "a look sees the first directory batch only",
        "services/patient_directory.py",
        "for one in directory_batch_ids]",
        "for one in directory_batch_ids[:1]]",
        FURTHER + "test_what_a_partial_activation_left_out_is_created_anew_and_activated",
    ),
    Break(
        "hospitals left out by a partial activation stay where they are",
        "services/part_runner.py",
        "            copies = (*plan.surplus, *plan.stranded.values())\n",
        "            copies = plan.surplus\n",
        FURTHER + "test_what_a_partial_activation_left_out_is_created_anew_and_activated",
    ),
    Break(
        "a checkpoint is written in place, without a rename",
        "services/storage/durable.py",
        """        os.replace(temporary, path)
""",
        """        path.write_bytes(Path(temporary).read_bytes())
        os.unlink(temporary)
""",
        FILES + "TestCrashes",
    ),
    Break(
        "a checkpoint is renamed before it is on the disk (no fsync)",
        "services/storage/durable.py",
        """            os.fsync(file.fileno())
            size""",
        """            size""",
        FILES + "TestCrashes",
    ),
    Break(
        "the rename of a checkpoint is not on the disk (no fsync of the folder)",
        "services/storage/durable.py",
        """        raise
    sync_folder(path.parent)
""",
        """        raise
""",
        FILES + "TestCrashes",
    ),
    Break(
        "a change is told before it is on the disk (no fsync of the journal)",
        "services/storage/durable.py",
        """        file.write(text)
        file.flush()
        os.fsync(file.fileno())
""",
        """        file.write(text)
        file.flush()
""",
        JOURNAL + "TestCrashes",
    ),
    Break(
        "a change is added after one that may be there in half",
        "services/storage/journal.py",
        """        self.close()
        if room < 0:
""",
        """        if room < 0:
""",
        JOURNAL + "TestFailures",
    ),
    Break(
        "a deleted batch's journal goes before its document",
        "services/storage/json_files.py",
        """            durable.remove(self._path(batch_id))
            if written is not None:
                durable.remove(written.path)
""",
        """            if written is not None:
                durable.remove(written.path)
            durable.remove(self._path(batch_id))
            if written is not None:
""",
        JOURNAL + "TestCrashes",
    ),
    Break(
        "an upload is accepted before its checkpoint is written",
        "services/progress_tracker.py",
        """        try:
            await self._written(batch, partial(self._storage.add, batch.snapshot(clock.now_s())))
        except StorageUnavailable:
            # The write may have failed only at its last step, after the document was in place.
            with contextlib.suppress(StorageError):
                await off_loop(partial(self._storage.delete, batch.id))
            raise
        self._batches[batch.id] = batch
""",
        """        self._batches[batch.id] = batch
        self._write_soon(batch)
""",
        SERVICE + "test_storage_that_cannot_be_written_refuses_the_file_and_sends_nothing",
    ),
    Break(
        "an older snapshot may replace a newer one",
        "services/progress_tracker.py",
        "        return self._locks.setdefault(batch.id, asyncio.Lock())\n",
        "        return asyncio.Lock()\n",
        WRITES + "test_an_older_state_never_replaces_a_newer_one",
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
        PACING + "TestNextTurn",
    ),
    Break(
        "the limiter forgets what an earlier process sent",
        "services/batch_service.py",
        "        self._directory.remember_creates(send_ages_s)\n",
        "",
        INTERRUPTIONS
        + "test_the_window_goes_on_over_a_kill_and_is_neither_exceeded_nor_waited_out",
    ),
    Break(
        "sends are remembered only after their answer",
        "services/pacing.py",
        """                self._count(now_s)
                self._note_send()
""",
        """                self._count(now_s)
                loop.call_later(5.0, self._note_send)
""",
        INTERRUPTIONS
        + "test_the_window_goes_on_over_a_kill_and_is_neither_exceeded_nor_waited_out",
    ),
    Break(
        "a resume is a cursor: it begins after the last row that was created",
        "services/row_sender.py",
        "        pending = [row.hospital.row for row in rows if row.status is RowStatus.PENDING]\n",
        """        last = max((row.hospital.row for row in rows if row.is_done), default=0)
        pending = [
            row.hospital.row
            for row in rows
            if row.status is RowStatus.PENDING and row.hospital.row > last
        ]
""",
        EXACTLY_ONCE + "test_a_row_that_runs_out_of_tries_fails_and_a_resume_sends_it_again",
    ),
    Break(
        "a resume sends before it looks",
        "services/part_runner.py",
        "        if part.is_new:\n",
        "        if True:\n",
        SERVICE + "test_a_resume_looks_before_it_sends",
    ),
    Break(
        "what a crash interrupted is not settled",
        "services/housekeeping.py",
        "        batch.doubtful = batch.unsettled = frozenset(opened)\n",
        "",
        INTERRUPTIONS + "test_a_kill_at_any_moment_ends_exactly_once_after_a_plain_restart",
    ),
    Break(
        "a resume takes no claim, so that two may run",
        "services/claims.py",
        "        if batch.id in self._held:\n            raise Taken\n",
        "",
        SERVICE + "test_of_many_simultaneous_resumes_exactly_one_wins",
    ),
    Break(
        "an abandon takes no claim",
        "services/claims.py",
        "        if batch.id in self._held:\n            raise Taken\n",
        "",
        SERVICE + "test_of_a_resume_and_an_abandon_at_once_the_first_wins",
    ),
    Break(
        "a cleanup takes no claim",
        "services/claims.py",
        "        if batch.id in self._held:\n            raise Taken\n",
        "",
        SERVICE + "test_two_cleanups_at_once_forget_each_batch_once",
    ),
    Break(
        "a resume does not ask whose directory it was",
        "services/batch_service.py",
        """        async with self._claimed(batch, _RESUMABLE, cannot_resume):
            self._check_directory(batch)
""",
        """        async with self._claimed(batch, _RESUMABLE, cannot_resume):
""",
        INTERRUPTIONS + "test_an_interrupted_batch_of_another_directory_is_left_alone",
    ),
    Break(
        "the age of a batch is measured on the wall clock",
        "services/housekeeping.py",
        "if _is_old(batch, age_s, statuses)]\n",
        "if batch.status in statuses and"
        " (self._tracker.wall_clock() - batch.updated_at).total_seconds() >= age_s]\n",
        CLOCKS + "test_a_step_forgets_no_completed_batch_early_and_keeps_none_for_ever",
    ),
    Break(
        "hospitals that somebody else put into the batch are deleted",
        "services/part_runner.py",
        """        if plan.foreign:
            raise foreign_hospitals(plan.foreign)
        if plan.surplus or plan.stranded:
""",
        """        if plan.foreign:
            await self._activation.delete(run, part, plan.foreign)
            return False
        if plan.surplus or plan.stranded:
""",
        EXACTLY_ONCE + "test_hospitals_that_the_file_does_not_have_are_named_and_not_deleted",
    ),
    Break(
        "of identical copies the newest stays, although an older one is active",
        "services/reconciliation.py",
        "        return not copy.active, _is_stranded(copy, closed), copy.id\n",
        "        return False, _is_stranded(copy, closed), -copy.id\n",
        MATCHING + "TestSurplusCopies",
    ),
    Break(
        "a create that is under way is cancelled with its run",
        "services/batch_service.py",
        "        loop.call_later(self._rules.shutdown_grace_s, self._claims.cancel_all)\n",
        "        loop.call_later(0.0, self._claims.cancel_all)\n",
        INTERRUPTIONS + "test_a_stop_lets_rows_under_way_finish_and_sends_no_new_one",
    ),
    Break(
        "restarts count as automatic resumes although nothing was sent",
        "services/housekeeping.py",
        "        batch.resume_count += 1\n",
        "        batch.resume_count += 1\n        batch.auto_resumes += 1\n",
        INTERRUPTIONS + "test_restarts_while_a_batch_waits_for_its_turn_do_not_count",
    ),
    Break(
        "an automatic resume is counted only some time after it sent",
        "services/row_sender.py",
        "                await make_known(self._tracker, run.batch, auto_resumes=count)\n",
        "                run.batch.auto_resumes = count\n",
        INTERRUPTIONS + "test_a_service_that_dies_of_what_it_sends_stops_after_three_restarts",
    ),
    Break(
        "a create leaves after the service stopped",
        "services/row_sender.py",
        """        if self._directory.waker.is_stopping or run.stopped_by:  # since the turn was granted
            raise TurnWithdrawn
""",
        "",
        INTERRUPTIONS + "test_no_create_leaves_once_the_service_stops",
    ),
    Break(
        "a cancel is told before it is durable",
        "services/execution.py",
        """        try:
            await self._tracker.save(batch)
        except StorageUnavailable:
""",
        """        try:
            pass
        except StorageUnavailable:
""",
        CANCEL + "test_a_cancel_that_was_told_holds_over_a_crash",
    ),
    Break(
        "a restart goes on with a cancelled batch",
        "services/housekeeping.py",
        """        if batch.cancelled:
            return cancelled().reason
""",
        "",
        CANCEL + "test_a_cancel_that_was_told_holds_over_a_crash",
    ),
    Break(
        "a resumed batch stays cancelled",
        "services/batch_service.py",
        "                cancelled=False,\n",
        "",
        CANCEL + "test_once_resumed_it_goes_on_after_a_crash_again",
    ),
    Break(
        "a cancelled batch is activated when its last rows arrive",
        "services/batch_runner.py",
        """        if batch.id in self._runs:
            self._runs[batch.id].stop(cancelled())
""",
        "",
        CANCEL + "test_at_any_moment_a_cancel_either_holds_or_is_refused",
    ),
    Break(
        "rows that wait for their turn are sent after a cancel",
        "services/batch_runner.py",
        "        self._directory.withdraw(batch.id)\n",
        "",
        CANCEL + "test_one_that_waits_for_the_rate_window_ends_at_once",
    ),
    Break(
        "a row that may be in the directory gets another content",
        "services/correction.py",
        "    if not row.is_excluded:\n",
        "    if row.status is not RowStatus.FAILED:\n",
        CORRECTIONS + "test_a_row_out_of_tries_is_not_corrected_but_sent_again",
    ),
    Break(
        "a correction is told before it is durable",
        "services/correction.py",
        """            await tracker.announce(
                batch,
                BatchStatus.RESUMABLE,
                row=mended,
                failure_reason=corrected(batch, number),
            )
""",
        """            batch.rows.put(mended)
            tracker.set_status(batch, BatchStatus.RESUMABLE)
""",
        CORRECTIONS + "test_a_correction_that_was_told_holds_over_a_crash",
    ),
    Break(
        "a skipped row is sent",
        "services/skipping.py",
        '    return Row(hospital, RowStatus.FAILED, error=" ".join(reasons), skipped=True)\n',
        "    return Row(hospital)\n",
        CORRECTIONS + "test_the_sound_rows_of_a_file_are_loaded_and_the_others_say_why_not",
    ),
    Break(
        "rows behind an open quote are lost without a word",
        "services/skipping.py",
        """ and finding.error_type != "unterminated_quote\"""",
        "",
        CORRECTIONS + "test_what_is_wrong_with_more_than_single_rows_refuses_the_file",
    ),
    Break(
        "an old stopped batch is forgotten and its hospitals stay",
        "services/housekeeping.py",
        """                    return self._claims.start(batch, self._abandon(batch))
        return None""",
        """                    return self._claims.start(batch, self._tracker.forget(batch))
        return None""",
        RETENTION + "test_resumable_and_failed_batches_are_abandoned_with_their_hospitals",
    ),
    Break(
        "a watcher that was slow misses rows",
        "routers/event_stream.py",
        "news = self._change if seen == self._number - 1 else self._whole()",
        "news = self._change if seen is not None else self._whole()",
        WATCHING + "test_a_slow_watcher_holds_up_nobody_and_comes_back_to_the_newest_truth",
    ),
    Break(
        "who asks again is told the rows as they were",
        "routers/progress_document.py",
        "if page is None or page.rows != rows or page.is_correctable is not is_correctable:",
        "if page is None:",
        POLLING + "test_nothing_is_told_later_than_it_is_so",
    ),
    Break(
        "a batch that was just worked on is abandoned for its age",
        "services/housekeeping.py",
        "if batch.id in self._tracker and self._is_kept_long_enough(batch):",
        "if batch.id in self._tracker and batch.status in STOPPED:",
        RETENTION + "test_one_that_is_corrected_while_another_is_abandoned_is_kept",
    ),
    Break(
        "of two equal uploads at once both are stored",
        "services/batch_service.py",
        "        async with self._turns.turn(upload.owner, upload.idempotency_key):\n",
        "        if True:\n",
        KEYS + "test_of_many_at_once_one_becomes_a_batch",
    ),
    Break(
        "an upload's name is looked for before its turn has come",
        "services/batch_service.py",
        """        async with self._turns.turn(upload.owner, upload.idempotency_key):
            await self._peers.refresh_upload(upload.owner, upload.idempotency_key)
            known = self._tracker.uploaded_as(upload.owner, upload.idempotency_key)
""",
        """        known = self._tracker.uploaded_as(upload.owner, upload.idempotency_key)
        async with self._turns.turn(upload.owner, upload.idempotency_key):
""",
        KEYS + "test_of_many_at_once_one_becomes_a_batch",
    ),
    Break(
        "another file under an upload's name is taken for the first",
        "services/batch_service.py",
        "        if known.file_digest != digest:\n",
        "        if known.file_digest is None:\n",
        KEYS + "test_another_file_under_the_key_is_refused_and_starts_nothing",
    ),
    Break(
        "an upload's name is lost in a crash",
        "services/storage/checkpoint.py",
        "        idempotency_key=read.idempotency_key,\n",
        "        idempotency_key=None,\n",
        KEYS + "test_a_crash_parts_no_batch_from_its_key",
    ),
    Break(
        "one key's upload name finds another's batch",
        "services/progress_tracker.py",
        "(b.owner, b.idempotency_key) == wanted",
        "b.idempotency_key == idempotency_key",
        KEYS + "test_keys_belong_to_who_sent_them",
    ),
    Break(
        "a replay waits for an abandonment",
        "services/execution.py",
        "        if batch.status in INTERRUPTED:\n            await self._claims.wait(batch.id)",
        "        if True:\n            await self._claims.wait(batch.id)",
        KEYS + "test_a_batch_that_is_being_abandoned_is_answered_as_it_is",
    ),
    Break(
        "an ordinary key sees all batches",
        "models/caller.py",
        "return self.sees_all or (self.name is not None and batch.owner == self.name)",
        "return self.sees_all or self.name is not None",
        OWNERS + "test_lists_hold_the_callers_batches_and_an_admins_hold_all",
    ),
    Break(
        "a cleanup that is asked for touches others' stopped batches",
        "services/housekeeping.py",
        "for batch in self._older_than(self._rules.keep_stopped_s, STOPPED, caller):",
        "for batch in self._older_than(self._rules.keep_stopped_s, STOPPED, ANYBODY):",
        OWNERS + "test_a_cleanup_touches_the_callers_batches_only",
    ),
    Break(
        "batches that are being stored do not count as waiting",
        "services/batch_service.py",
        "        theirs = [batch for batch in held if batch.owner == owner]\n",
        "        theirs = [b for b in held if b.owner == owner and b.id in self._tracker]\n",
        OWNERS + "test_a_key_that_has_enough_batches_waiting_is_refused_and_others_are_not",
    ),
    Break(
        "a part is activated as soon as it is complete itself",
        "services/part_runner.py",
        """        while not await self._is_as_planned(run, part, await self._examine(run, part)):
            pass
""",
        """        while not await self._is_as_planned(run, part, await self._examine(run, part)):
            pass
        await self.activate(run, part)
""",
        PARTS + "test_nothing_is_activated_before_every_row_of_every_part_is_there",
    ),
    Break(
        "which parts may have rows is not durable before their first create",
        "services/row_sender.py",
        "                await make_known(self._tracker, batch, opened_parts=opened)\n",
        "                batch.opened_parts = opened\n",
        TROUBLED_PARTS + "test_nothing_is_sent_of_a_part_that_could_not_be_made_known",
    ),
    Break(
        "after a crash the first part alone is taken for sent",
        "services/housekeeping.py",
        "        opened = range(batch.opened_parts)\n",
        "        opened = range(min(batch.opened_parts, 1))\n",
        TROUBLED_PARTS + "test_after_a_kill_no_row_of_any_part_is_sent_twice",
    ),
    Break(
        "a part that has lost rows leaves the others verified",
        "services/batch_run.py",
        """        for one in self.parts:
            one.verified_s = None
""",
        """        part.verified_s = None
""",
        TROUBLED_PARTS + "test_a_directory_that_forgot_everything_is_filled_anew_in_one_go",
    ),
    Break(
        "the part verified longest ago is not looked at again before the activation",
        "services/batch_runner.py",
        """                return shortfall(batch)
            await self._verify_oldest(run)
""",
        """                return shortfall(batch)
""",
        PARTS
        + "test_a_directory_that_restarts_in_the_middle_is_filled_anew_before_it_is_activated",
    ),
    Break(
        "the part verified longest ago is not looked at again before `completed`",
        "services/batch_runner.py",
        """                await self._each(run, self._parts.activate, run.parts)
            await self._verify_oldest(run)
""",
        """                await self._each(run, self._parts.activate, run.parts)
""",
        TROUBLED_PARTS + "test_a_directory_that_forgets_after_the_last_activation_is_filled_anew",
    ),
    Break(
        "what a part lacks is sent to the first part's further directory batch",
        "services/part_runner.py",
        "further={**batch.further, part.number: further}",
        "further={**batch.further, 0: further}",
        TROUBLED_PARTS + "test_what_partial_activations_left_out_goes_where_its_part_is",
    ),
    Break(
        "all parts have the same further directory batches",
        "models/batch.py",
        "*(uuid5(first, str(number)) for number in further)",
        "*(uuid5(self.id, str(number)) for number in further)",
        TROUBLED_PARTS + "test_what_partial_activations_left_out_goes_where_its_part_is",
    ),
    Break(
        "a part takes the rows of the whole file for its own",
        "services/part_runner.py",
        "            batch.rows_of(part.number), look.hospitals, settled=",
        "            batch.rows, look.hospitals, settled=",
        PARTS + "test_a_large_file_is_one_batch_of_several_directory_batches",
    ),
    Break(
        "the size of the parts is lost in a crash",
        "services/storage/checkpoint.py",
        '        "part_rows": read.rows,\n',
        '        "part_rows": None,\n',
        PARTS + "test_a_part_keeps_its_rows_when_the_setting_changes",
    ),
    Break(
        "an abandon deletes a part before it has looked at the others",
        "services/abandonment.py",
        """            await self._examine(batch, parts)
            filled""",
        """            for part in parts:
                await self._examine(batch, [part])
                await self._delete(batch, [part])
            await self._examine(batch, parts)
            filled""",
        PARTS + "TestAbandon::test_nothing_is_deleted_when_the_last_part_has_an_active_hospital",
    ),
    Break(
        "an abandon deletes a part as it was seen long ago",
        "services/patient_directory.py",
        "            if active:\n",
        "            if False:\n",
        TROUBLED_PARTS + "test_a_part_that_becomes_active_while_others_are_deleted_is_not_deleted",
    ),
    Break(
        "the part with the oldest hospitals is not looked at again",
        "services/batch_runner.py",
        "            oldest = min(filled, key=lambda part: ages[part.number])\n",
        "            oldest = longest_ago\n",
        TROUBLED_PARTS + "test_a_full_directory_that_drops_the_oldest_rows_is_noticed",
    ),
    Break(
        "an abandon forgets all parts but the first",
        "services/abandonment.py",
        "            for number in range(batch.opened_parts)\n",
        "            for number in range(min(batch.opened_parts, 1))\n",
        PARTS + "TestAbandon::test_every_part_leaves_the_directory",
    ),
    # Several processes on one database.
    Break(
        "who lost a batch writes it all the same",
        "services/storage/postgres.py",
        """    WHERE id = %(id)s AND holder = %(me)s AND fence = %(fence)s
    RETURNING id, version, cancelled
""",
        """    WHERE id = %(id)s
    RETURNING id, version, cancelled
""",
        STORED + "TestFences::test_who_lost_a_batch_is_told_and_changes_nothing",
    ),
    Break(
        "an earlier hold of the same process counts still",
        "services/storage/postgres.py",
        """    WHERE id = %(id)s AND holder = %(me)s AND fence = %(fence)s
    RETURNING id, version, cancelled
""",
        """    WHERE id = %(id)s AND holder = %(me)s
    RETURNING id, version, cancelled
""",
        STORED + "TestFences::test_an_earlier_hold_of_the_same_process_counts_no_more",
    ),
    Break(
        "a claim takes what another process holds",
        "services/storage/postgres.py",
        "    WHERE id = %(id)s AND (holder = %(me)s OR {_IS_FREE}) AND {_IS_KNOWN}\n",
        "    WHERE id = %(id)s AND {_IS_KNOWN} AND %(lease_s)s > 0\n",
        STORED + "TestClaims::test_of_many_processes_one_gets_a_batch",
    ),
    Break(
        "a save undoes a cancel that its process has not heard of",
        "services/storage/postgres.py",
        "        cancelled = %(cancelled)s OR (cancelled AND NOT %(reset)s)\n",
        "        cancelled = %(cancelled)s\n",
        STORED + "TestCancelling::test_saves_of_who_has_not_heard_yet_do_not_lose_it",
    ),
    Break(
        "a batch is cancelled elsewhere while it is activated",
        "services/storage/postgres.py",
        "    WHERE id = %(id)s AND status = ANY(%(statuses)s)\n",
        "    WHERE id = %(id)s AND %(statuses)s IS NOT NULL\n",
        STORED + "TestCancelling::test_only_what_is_to_be_sent_can_be_cancelled",
    ),
    Break(
        "an upload is known elsewhere before its client may be told",
        "services/storage/postgres.py",
        "directory_url = %(directory)s AND (fence <> 1 OR holder IS NULL OR holder = %(me)s)\n",
        "directory_url = %(directory)s AND %(me)s IS NOT NULL\n",
        STORED + "TestReading::test_others_know_of_a_batch_when_its_client_may_be_told",
    ),
    Break(
        "an upload that was refused stays where it may have been stored",
        "services/storage/postgres.py",
        """            self._refused.add(batch.id)
            raise
""",
        """            raise
""",
        SHARING + "test_an_upload_that_was_refused_is_removed_when_the_database_is_back",
    ),
    Break(
        "the newest turns are given back in place of the oldest",
        "services/storage/turns.py",
        "    ORDER BY taken_at LIMIT %(turns)s\n",
        "    ORDER BY taken_at DESC LIMIT %(turns)s\n",
        TURNS + "TestTurns::test_what_is_given_back_is_taken_again",
    ),
    Break(
        "each process has the directory's budgets for itself",
        "wiring/service.py",
        "        budgets=sharing.budgets if sharing else None,\n",
        "        budgets=None,\n",
        SHARING + "test_processes_share_what_the_directory_allows",
    ),
    Break(
        "nobody asks before a create whether the batch is still its own",
        "services/patient_directory.py",
        """            await preparing()
            await self._peers.may_send(batch_id)
""",
        """            await preparing()
""",
        SHARING + "test_a_process_that_has_not_heard_yet_asks_before_it_sends",
    ),
    Break(
        "who takes over believes what was written last",
        "services/housekeeping.py",
        "                elif batch.status in INTERRUPTED and is_clean:\n",
        "                elif batch.status in INTERRUPTED:\n",
        SHARING + "test_what_a_killed_process_ran_is_finished_by_another",
    ),
    Break(
        "what a process left is not offered to others",
        "services/database_peers.py",
        "                if takes_over:\n",
        "                if False:\n",
        SHARING + "test_what_a_killed_process_ran_is_finished_by_another",
    ),
    Break(
        "a run that was to end anyway keeps a batch that it lost",
        "services/batch_run.py",
        "        if self.stopped_by is None or isinstance(reason, Lost):",
        "        if self.stopped_by is None:",
        SHARING + "test_a_run_that_was_to_end_anyway_lets_go_of_a_lost_batch",
    ),
    Break(
        "an abandonment that fails is tried again and again",
        "services/storage/postgres.py",
        "AND NOT (status = 'abandoning' AND is_clean)\n",
        "",
        SHARING + "test_an_abandonment_that_fails_waits_for_the_next_cleanup",
    ),
    Break(
        "a batch that cannot be read hides others",
        "services/database_peers.py",
        "            self._set_aside(batch_id, error)\n            return\n",
        "            raise error\n",
        SHARING + "test_a_batch_that_cannot_be_read_hides_no_other",
    ),
    Break(
        "who runs a batch shows less of it than the others",
        "services/database_peers.py",
        "                    await self._tracker.shown(batch_id)\n",
        "                    pass\n",
        SHARING + "test_no_process_shows_less_than_another_showed_before",
    ),
    Break(
        "who cannot ask the others guesses on",
        "services/batch_service.py",
        "        if self._peers.is_away and batch.status not in ENDED:\n",
        "        if False:\n",
        SHARING + "test_who_cannot_ask_says_so_and_does_not_guess_how_long_it_takes",
    ),
    Break(
        "a batch that nobody runs stays cancelled for ever without having ended",
        "services/execution.py",
        "            await self._housekeeping.take(batch.id, to_end_it=True)\n",
        "            pass\n",
        SHARING + "test_what_nobody_runs_is_cancelled_by_whom_is_asked_and_can_be_taken_back",
    ),
    Break(
        "an answer about the claim counts however old it is",
        "services/database_peers.py",
        "            if clock.now_s() - asked_s > FRESH_S:\n",
        "            if False:\n",
        SHARING + "test_a_late_answer_allows_nothing",
    ),
)
