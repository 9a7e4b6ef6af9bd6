"""The service's folder of checkpoints, as an operator sees it: read, damaged and mended.

Everything here is quick enough for the event loop: a few dozen files of some kilobytes.
"""

import contextlib
import json
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from chaos.ledger import Seen
from chaos.schedule import Damage

SET_ASIDE = ".set-aside"


class Checkpoints:
    """The folder *folder*, which the service makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sound: dict[str, tuple[Path, bytes]] = {}  # what damaged ones were before

    def kept(self, known: Iterable[str]) -> list[Seen]:
        """Return every batch in the folder that can be read.

        Args:
            known: Batches to look for by name: a listing may miss a file that is being replaced.
        """
        names = {path.stem for path in self.folder.glob("*.json")} | set(known)
        return [seen for name in sorted(names) if (seen := self._read(name)) is not None]

    def damage(self, how: Damage, luck: float) -> str | None:
        """Damage one checkpoint; return its batch id, or None if there is none.

        Args:
            how: In which way.
            luck: 0 to 1: which one.
        """
        paths = [
            path for path in sorted(self.folder.glob("*.json")) if path.stem not in self._sound
        ]
        if not paths:
            return None
        path = paths[int(luck * len(paths))]
        batch_id = path.stem
        if how is Damage.FLIPPED:  # a journal cut off looks as if a crash had torn its last line
            path = next(iter(self.folder.glob(f"{batch_id}.*.jsonl")), path)
        sound = path.read_bytes()
        path.write_bytes(_damaged(sound, how, Random(luck)))
        self._sound[batch_id] = path, sound
        return batch_id

    def mend(self) -> list[str]:
        """Mend what was damaged, as README tells operators to; return the batch ids.

        The editor's part is done by putting back what stood there before. An empty file leaves
        nothing to mend: it stays set aside.
        """
        mended = []
        for batch_id, (path, sound) in list(self._sound.items()):
            damaged = path.with_name(path.name + SET_ASIDE)
            if damaged.exists() and damaged.stat().st_size:
                damaged.write_bytes(sound)
                for aside in self.folder.glob(f"{batch_id}.*{SET_ASIDE}"):
                    aside.rename(aside.with_suffix(""))
                del self._sound[batch_id]
                mended.append(batch_id)
        return mended

    def _read(self, name: str) -> Seen | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            document = self._state(self.folder / f"{name}.json")
            return Seen(
                batch_id=document["batch_id"],
                status=document["status"],
                updated_at=datetime.fromisoformat(document["updated_at"]).timestamp(),
                file_name=document["file_name"],
                runs=document["resume_count"],
                rows=tuple(
                    (row["name"], row["address"], row["phone"] or "") for row in document["rows"]
                ),
            )
        return None

    def _state(self, path: Path) -> dict[str, Any]:
        """Return a document with the changes in its journal."""
        document: dict[str, Any] = json.loads(path.read_bytes())
        journal = path.with_suffix(f".{document.get('generation')}.jsonl")
        with contextlib.suppress(FileNotFoundError):
            for line in journal.read_bytes().split(b"\n")[:-1]:  # what follows the last is torn
                change = json.loads(line)
                for row in change.pop("rows"):
                    document["rows"][row["row"] - 1] = row
                document |= change
        if json.loads(path.read_bytes()).get("generation") != document.get("generation"):
            return self._state(path)  # written anew meanwhile, its journal removed
        return document


def _damaged(sound: bytes, how: Damage, luck: Random) -> bytes:
    """Return a document that cannot be read any more."""
    match how:
        case Damage.CUT_OFF:
            return sound[: luck.randrange(1, len(sound) - 2)]
        case Damage.FLIPPED:
            # The highest bit: a flip that leaves a readable document cannot be told from a change
            # by hand, and would be loaded as what it says.
            flipped = bytearray(sound)
            for place in luck.sample(range(len(sound) - 1), 5):
                flipped[place] ^= 0x80
            return bytes(flipped)
        case Damage.EMPTIED:
            return b""
        case Damage.OTHER_VERSION:
            return re.sub(rb'"version": *\d+', b'"version": 999', sound, count=1)
