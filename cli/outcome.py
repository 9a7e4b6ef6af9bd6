"""How a batch stands: what is said of it, and what can be done next."""

from cli.client import Json
from cli.display import Display, rows_table


def tell(display: Display, document: Json) -> bool:
    """Write where a batch stands; return whether it is completed."""
    seconds = document["processing_time_seconds"]
    reason = document["failure_reason"]
    # The reason says what to do, and the step of a batch that has one says it again.
    how = document["status"] if reason else document["current_step"].rstrip(".")
    message = f"Batch {document['batch_id']}: {how}. It took {seconds:.1f} s."
    display.result(document, message, rows_table(document["hospitals"]))
    if reason:
        display.tell(reason)
    if advice := advice_for(document):
        display.advise(*advice)
    return bool(document["status"] == "completed")


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
    if status in ("resumable", "failed", "abandoning"):
        advice.append(("take it back:", f"abandon {batch_id}"))
    if not document["is_completed"]:
        advice.append(("follow it:", f"watch {batch_id}"))
    return advice
