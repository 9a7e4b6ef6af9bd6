"""What can go wrong with a call, and how it is told.

    BulkError
    ├── FileRejected          400  the file has errors; nothing was sent
    ├── FormUnreadable        400  the multipart form is broken
    ├── Unauthorized          401  no valid key was shown
    ├── Forbidden             403  the key is not an admin's
    ├── BatchNotFound         404  no batch of that id
    ├── RowNotFound           404  the batch has no row of that number
    ├── BatchConflict         409  the batch's state does not allow it now
    ├── UploadStalled         408  the sender fell silent before the upload was complete
    ├── UploadTooSlow         408  the upload took longer than BODY_TIMEOUT_SECONDS
    ├── UploadTooLarge        413  more bytes than MAX_UPLOAD_BYTES
    ├── NotCsv                415  neither .csv by name nor CSV by type
    ├── InvalidRequest        422  something is missing or of the wrong kind
    ├── KeyReused             422  the Idempotency-Key belongs to another file
    ├── RowRejected           422  a corrected row breaks the rules
    └── Later                      nothing was stored or changed; try again later
        ├── TooManyBatches    429  MAX_BATCHES_PER_CALLER batches of this key have not ended
        └── Unavailable       503  not only for this caller
            ├── StorageUnavailable     the checkpoint cannot be written
            ├── UploadNotKept          the temporary file of an upload cannot be written
            ├── QueueFull              MAX_QUEUED_BATCHES batches have not ended
            ├── ShuttingDown           the service is going down
            ├── NotReady               uploads are not taken
            └── DirectoryUnreachable   the directory gave no usable answer

A class's docstring is its description in the OpenAPI document, its message the `detail`.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

from models.validation import Finding


class BulkError(Exception):
    """Base of every error that a client may be told."""

    status_code: ClassVar[int] = 500
    slug: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"


def _when_it_ended(seconds: float | None) -> int:
    """Return after how many seconds to try again, if a batch is expected to end in *seconds*."""
    return 60 if seconds is None else math.ceil(seconds) + 1  # it is an estimate


class FileRejected(BulkError):
    """The file has errors, all of them listed; nothing was sent to the directory."""

    status_code = 400
    slug = "file-rejected"
    title = "The file has errors"

    def __init__(self, errors: Sequence[Finding]) -> None:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        super().__init__(f"The file has {count}; mend what is listed and upload it again.")
        self.errors = errors


class FormUnreadable(BulkError):
    """The multipart form is broken, so no file could be taken from it."""

    status_code = 400
    slug = "form-unreadable"
    title = "The form cannot be read"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The form cannot be read ({reason.rstrip('.')}): "
            "send the CSV file as multipart/form-data, in the field 'file'."
        )


class Unauthorized(BulkError):
    """No valid key was shown."""

    status_code = 401
    slug = "unauthorized"
    title = "A key is needed"

    def __init__(self) -> None:
        super().__init__(
            "Send a valid key, as X-API-Key: <secret> or as Authorization: Bearer <secret>."
        )


class Forbidden(BulkError):
    """The key is valid, but only an admin's may do this."""

    status_code = 403
    slug = "forbidden"
    title = "Not with this key"

    def __init__(self) -> None:
        super().__init__("Only a key whose name begins with admin may do this: use such a one.")


class BatchNotFound(BulkError):
    """There is no batch of that id: never known, another key's, cleaned up, or abandoned."""

    status_code = 404
    slug = "batch-not-found"
    title = "No such batch"

    def __init__(self) -> None:
        super().__init__(
            "There is no batch of that id: check it, or it was cleaned up or abandoned."
        )


class RowNotFound(BulkError):
    """The batch has no row of that number."""

    status_code = 404
    slug = "row-not-found"
    title = "No such row"

    def __init__(self, total_rows: int) -> None:
        super().__init__(f"There is no row of that number: the batch has rows 1 to {total_rows}.")


class BatchConflict(BulkError):
    """The batch's present state does not allow this."""

    status_code = 409
    slug = "batch-conflict"
    title = "Not possible in the batch's present state"


class UploadStalled(BulkError):
    """The sender fell silent before the upload was complete."""

    status_code = 408
    slug = "upload-stalled"
    title = "The upload stalled"

    def __init__(self, stall_s: float) -> None:
        super().__init__(
            f"Nothing more of the upload came for {stall_s:g} s, so nothing was done: send it "
            "again, with a Content-Length that is its length."
        )


class UploadTooSlow(BulkError):
    """The upload took longer than BODY_TIMEOUT_SECONDS."""

    status_code = 408
    slug = "upload-too-slow"
    title = "The upload took too long"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"The upload was not complete after {timeout_s:g} s, so nothing was done: send it "
            "over a faster connection, or ask the operator to raise BODY_TIMEOUT_SECONDS."
        )


class UploadTooLarge(BulkError):
    """The upload has more bytes than MAX_UPLOAD_BYTES allows."""

    status_code = 413
    slug = "upload-too-large"
    title = "The upload is too large"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"The upload is larger than {max_bytes} bytes: "
            "split the file, or ask the operator to raise MAX_UPLOAD_BYTES."
        )


class NotCsv(BulkError):
    """The file is neither named .csv nor sent with a CSV type."""

    status_code = 415
    slug = "not-csv"
    title = "Not a CSV file"

    def __init__(self) -> None:
        super().__init__("Send a CSV file: a name that ends in .csv, or the type text/csv.")


class InvalidRequest(BulkError):
    """Something that the call needs is missing or of the wrong kind; the detail says what."""

    status_code = 422
    slug = "invalid-request"
    title = "The request is not of the right form"


class KeyReused(BulkError):
    """Another file was uploaded under this Idempotency-Key."""

    status_code = 422
    slug = "key-reused"
    title = "The Idempotency-Key belongs to another file"

    def __init__(self) -> None:
        super().__init__(
            "Another file was uploaded under this Idempotency-Key: send this one under a new key."
        )


class RowRejected(BulkError):
    """The corrected values break the rules, all errors are listed; the row is what it was."""

    status_code = 422
    slug = "row-rejected"
    title = "The row has errors"

    def __init__(self, errors: tuple[Finding, ...]) -> None:
        super().__init__("The row still has errors: mend what is listed and send it again.")
        self.errors = errors


class Later(BulkError):
    """Nothing was stored or changed; the same call may succeed later."""

    slug = "later"
    title = "Not now"
    retry_after_seconds: int = 10


class TooManyRequests(Later):
    """More requests a second came from this caller than MAX_REQUESTS_PER_SECOND allows."""

    status_code = 429
    slug = "too-many-requests"
    title = "Too many requests"
    retry_after_seconds = 1  # the window that is counted in

    def __init__(self) -> None:
        super().__init__(
            "More requests came from you than are taken in a second, so this one was not looked "
            "at: wait a second and send it again."
        )


class TooManyBatches(Later):
    """As many batches of this key as may wait have not ended yet."""

    status_code = 429
    slug = "too-many-batches"
    title = "Too many of your batches are waiting"

    def __init__(self, limit: int, ends_in_s: float | None) -> None:
        super().__init__(
            f"Batches of this key that have not ended: {limit}, as many as it may have at once: "
            "try again when one has ended."
        )
        self.retry_after_seconds = _when_it_ended(ends_in_s)


class Unavailable(Later):
    """Nothing was stored or changed; the same call may succeed later."""

    status_code = 503
    slug = "unavailable"
    title = "Not available now"


UNREAD = "What other processes did with the batch cannot be read"


class StorageUnavailable(Unavailable):
    """The batch's checkpoint cannot be written, so nothing was started, or cannot be read."""

    slug = "storage-unavailable"
    title = "The storage cannot be written"

    def __init__(
        self, what: str = "The batch's state could not be saved, so this was not done"
    ) -> None:
        super().__init__(
            f"{what}: the operator must see to the batch storage, a disk that is full or cannot be "
            "written, or a database that does not answer; then try again."
        )


class UploadNotKept(Unavailable):
    """The temporary file that a large upload is kept in cannot be written."""

    slug = "upload-not-kept"
    title = "The upload cannot be kept"

    def __init__(self) -> None:
        super().__init__(
            "The upload could not be kept while it was read, so nothing was done: the operator "
            "must make room in the folder of temporary files (TMPDIR); then try again."
        )


class QueueFull(Unavailable):
    """As many batches as the service keeps at once have not ended yet."""

    slug = "queue-full"
    title = "Too many batches are waiting"

    def __init__(self, limit: int, ends_in_s: float | None) -> None:
        super().__init__(
            f"Batches that have not ended: {limit}, as many as are kept at once: try again later."
        )
        self.retry_after_seconds = _when_it_ended(ends_in_s)


class ShuttingDown(Unavailable):
    """The service is going down; its successor takes the call."""

    slug = "shutting-down"
    title = "The service is shutting down"

    def __init__(self) -> None:
        super().__init__("The service is shutting down: try again in a few seconds.")


class NotReady(Unavailable):
    """Uploads are not taken now; `failing` says why."""

    slug = "not-ready"
    title = "Not ready"

    def __init__(self, failing: list[str], directory: str) -> None:
        super().__init__(f"Uploads are not taken now; failing: {', '.join(failing)}.")
        self.failing = failing
        self.directory = directory


class DirectoryUnreachable(Unavailable):
    """The directory gave no usable answer, so what was asked could not be finished."""

    slug = "directory-unreachable"
    title = "The directory cannot be reached"
    retry_after_seconds = 60
