"""What a hospital is: as a row of the file, and as the directory lists it."""

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

Content: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class HospitalRow:
    """One data row of a file, its values trimmed.

    `row` counts data rows from 1; `phone` is None when the file has none.
    """

    row: int
    name: str
    address: str
    phone: str | None

    @property
    def content(self) -> Content:
        """What the row is recognised by in the directory, which knows no row numbers."""
        return (self.name, self.address, self.phone or "")


@dataclass(frozen=True, slots=True)
class ListedHospital:
    """One hospital as the directory shows it.

    Texts may be None: an update through the directory's own API can write a null.
    """

    id: int
    name: str | None
    address: str | None
    phone: str | None
    batch_id: UUID | None
    active: bool

    @property
    def content(self) -> Content:
        return (self.name or "", self.address or "", self.phone or "")
