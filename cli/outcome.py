"""How a batch stands: what is said of it, and what can be done next."""

from cli.client import PAGE_ROWS, CallFailed, Json, Service
from cli.display import SHOWN, Display, rows_table, taken

TAKEN_BACK = ("resumable", "failed", "abandoning")  # an abandon of any other is refused at once


def is_large(document: Json) -> bool:
    """Return whether a batch has more rows than a progress document holds."""
    return bool(document["total_hospitals"] > PAGE_ROWS)


def tell(service: Service, display: Display, document: Json) -> bool:
    """Write where a batch stands; return whether it is completed.

    Of a large batch the first rows that failed are shown, of any other all its rows.
    """
    rows, more = document["hospitals"], 0
    if is_large(document):
        rows = _failed_rows(service, display, document)
        more = document["failed_hospitals"] - len(rows)
    seconds = document["processing_time_seconds"]
    reason = document["failure_reason"]
    # The reason says what to do, and the step of a batch that has one says it again.
    how = document["status"] if reason else document["current_step"].rstrip(".")
    message = f"Batch {document['batch_id']}: {how}. It took {taken(seconds)}."
    display.result(document, message, rows_table(rows, more))
    if reason:
        display.tell(reason)
    advice = advice_for(document | {"hospitals": rows})
    if more and document["status"] != "completed":
        report = f"report {document['batch_id']} --only-failed -o failed.csv"
        advice.append(("see all that failed:", report))
    if advice:
        display.advise(*advice)
    return bool(document["status"] == "completed")


def _failed_rows(service: Service, display: Display, document: Json) -> list[Json]:
    """Return the first rows that failed; none when they cannot be had, which is told."""
    if not document["failed_hospitals"]:
        return []
    try:
        return service.failed_rows(document["batch_id"], SHOWN)
    except CallFailed as failure:
        display.tell(f"{failure} The rows that failed are not shown.")
        return []


def tell_why(display: Display, verdict: Json, document: Json) -> None:
    """Write why the directory differs from a batch's file, if it is plain, and what to do.

    Args:
        verdict: What the comparison found.
        document: The batch's progress.
    """
    batch_id, created = document["batch_id"], document["processed_hospitals"]
    advice = []
    if document["status"] != "completed":
        display.tell("What a batch created is inactive until the batch is completed.")
        advice = advice_for(document)
    elif len(verdict["missing"]) == created and not verdict["surplus"]:  # one may be a row, changed
        display.tell("The directory has none of the rows any more: load them again.")
        skip = " --skip-invalid" if document["failed_hospitals"] else ""
        advice.append(("get the rows:", f"report {batch_id} -o again.csv"))
        advice.append(("load them again:", f"upload again.csv{skip}"))
    if advice:
        display.advise(*advice)


def advice_for(document: Json) -> list[tuple[str, str]]:
    """Return what can be done with a batch: purposes, and the arguments of commands."""
    batch_id, status = document["batch_id"], document["status"]
    advice = []
    if to_correct := [row["row"] for row in document["hospitals"] if row.get("to_correct")]:
        values = "--name ... --address ... --phone ..."
        advice.append(("correct a row:", f"correct {batch_id} {to_correct[0]} {values}"))
    if status == "resumable":
        advice.append(("go on:", f"resume {batch_id}"))
    # Of any other batch a resume sends them too: as a file of their own they would be there twice.
    if status == "completed" and document["failed_hospitals"]:
        advice.append(("get the failed rows:", f"report {batch_id} --only-failed -o failed.csv"))
    if status in TAKEN_BACK:
        advice.append(("take it back:", f"abandon {batch_id}"))
    if not document["is_completed"]:
        advice.append(("follow it:", f"watch {batch_id}"))
    return advice
