"""The shapes of what is told of batches as a whole."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from models.api.batches import EXAMPLE_SUMMARY, BatchSummary
from models.api.shape import EXAMPLE_ID, Shape, example
from models.hospital import ListedHospital
from models.row import Row

EXAMPLE_CURSOR = "AAZg7PsBoAALapweaj9MXp1WDw9vHCoR"


class BatchList(Shape):
    """One page of the batches, newest first."""

    model_config = example({"batches": [EXAMPLE_SUMMARY], "next_cursor": EXAMPLE_CURSOR})

    batches: list[BatchSummary]
    next_cursor: Annotated[
        str | None, Field(description="Give it as `cursor` for the next page; null on the last")
    ]


class Difference(Shape):
    """One row or hospital that is not as it should be."""

    row: Annotated[int | None, Field(description="null when the file has no such row")]
    hospital_id: Annotated[int | None, Field(description="null when the directory has none")]
    name: str

    @classmethod
    def of(cls, row: Row | None, hospital: ListedHospital | None) -> "Difference":
        name = row.hospital.name if row else (hospital and hospital.name) or ""
        return cls(
            row=row.hospital.row if row else None,
            hospital_id=hospital.id if hospital else None,
            # The directory may hold a lone surrogate, which could not be encoded.
            name=name.encode("utf-8", "replace").decode(),
        )


class Verification(Shape):
    """The directory compared with a batch's file."""

    model_config = example(
        {
            "batch_id": EXAMPLE_ID,
            "matches": False,
            "missing": [{"row": 3, "hospital_id": None, "name": "Castle Moor Infirmary"}],
            "surplus": [{"row": None, "hospital_id": 117, "name": "Alder Bridge Hospital"}],
            "inactive": [],
        }
    )

    batch_id: UUID
    matches: Annotated[bool, Field(description="Each row is there, once, active, nothing else is")]
    missing: Annotated[list[Difference], Field(description="Rows that are not there")]
    surplus: Annotated[
        list[Difference],
        Field(description="Copies beyond the file's rows, and hospitals that it does not have"),
    ]
    inactive: Annotated[list[Difference], Field(description="Rows that are there, not active")]
