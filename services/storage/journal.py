"""What changed in a large batch since its document was written: `<batch_id>.<generation>.jsonl`.

A line of JSON for each save, beside the document, so that a save costs what changed. The document
names the generation of its journal: one that an earlier document left behind is never taken for it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from models.batch import Batch
from services.storage import durable
from services.storage.checkpoint import GENERATION, UnreadableCheckpoint, changed_by

NAME = re.compile(rf"([0-9a-f-]{{36}})\.{GENERATION}\.jsonl")


class Journal:
    """A journal that is being written, by one thread at a time.

    Args:
        path: Where it is, or will be once something changed.
        room: Bytes that it may have before the document is to be written anew. With as many as the
            document has, what is written is at most twice what changed, and loading stays quick.
    """

    def __init__(self, path: Path, room: int) -> None:
        self.path = path
        self._room = room
        self._is_new = True

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be added any more."""
        return self._room <= 0

    def close(self) -> None:
        """Add nothing any more."""
        self._room = 0

    def add(self, line: bytes) -> bool:
        """Make one change durable; False if there is no room for it.

        Raises:
            OSError: It could not be written. The journal is closed, since it may end in half a
                line, which is passed over only at the very end.
        """
        room = self._room - len(line)
        self.close()
        if room < 0:
            return False
        durable.append(self.path, line, is_new=self._is_new)
        self._is_new = False
        self._room = room
        return True


def path_beside(document: Path, generation: str) -> Path:
    """Return where the journal of a document is."""
    return document.with_suffix(f".{generation}.jsonl")


def replayed(batch: Batch, path: Path) -> Batch:
    """Return *batch*, as its document has it, as its journal leaves it.

    Raises:
        UnreadableCheckpoint: The journal is damaged. Its beginning is not enough: a later line may
            say where rows were sent.
    """
    for number, line in enumerate(_lines(path), start=1):
        try:
            batch = changed_by(line, batch)
        except UnreadableCheckpoint as error:
            raise UnreadableCheckpoint(f"{path.name}, line {number}: {error}") from None
    return batch


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines but for a last one that a crash tore: nobody was told of that."""
    with path.open("rb") as file:
        line = file.readline()
        while line:
            following = file.readline()
            if following or not _is_torn(line):
                yield line
            line = following


def _is_torn(line: bytes) -> bool:
    return not line.endswith(b"\n") or b"\0" in line  # a disk that lost power may leave zeros
