"""The shapes of checked files."""

from typing import Annotated, Any

from pydantic import Field

from models.api.shape import Shape, example
from models.validation import PREVIEW_ROWS, CsvContent, Finding

EXAMPLE_FINDING: dict[str, Any] = {
    "row": 3,
    "line": 4,
    "column": "phone",
    "value": "n/a",
    "error_type": "invalid_phone",
    "message": "Write the phone as 7 to 15 digits with an optional + in front and space - ( ) . "
    "between them, or leave it empty: characters: 3, digits: 0.",
}


class RowError(Shape):
    """One thing wrong with a file."""

    model_config = example(EXAMPLE_FINDING)

    row: Annotated[int, Field(description="Data row, counted from 1; 0 for the file as a whole")]
    line: Annotated[int, Field(description="Physical line, counted from 1; 0 if there is none")]
    column: str | None
    value: Annotated[str | None, Field(description="What stands there, shortened")]
    error_type: str
    message: Annotated[str, Field(description="What to do")]

    @classmethod
    def of(cls, finding: Finding) -> "RowError":
        return cls(
            row=finding.row,
            line=finding.line,
            column=finding.column,
            value=finding.value,
            error_type=finding.error_type,
            message=finding.message,
        )


class PreviewHospital(Shape):
    """One sound row as it would be sent."""

    row: int
    name: str
    address: str
    phone: str | None


class FileProperties(Shape):
    """What the file itself is like."""

    size_bytes: int
    encoding: str
    delimiter: str | None
    has_header: bool


class ValidationResult(Shape):
    """What a check of a file found; nothing was stored or sent."""

    model_config = example(
        {
            "is_valid": False,
            "total_rows": 3,
            "valid_rows": 2,
            "invalid_rows": 1,
            "estimated_seconds": 5.0,
            "errors": [EXAMPLE_FINDING],
            "warnings": [],
            "preview_hospitals": [
                {
                    "row": 1,
                    "name": "Spire Roding Hospital",
                    "address": "Roding Lane South, Ilford, Essex, IG4 5PZ",
                    "phone": "020 8709 7878",
                }
            ],
            "file_info": {
                "size_bytes": 231,
                "encoding": "utf-8",
                "delimiter": ",",
                "has_header": True,
            },
        }
    )

    is_valid: bool
    total_rows: Annotated[int, Field(description="Data rows read; reading stops above the limit")]
    valid_rows: int
    invalid_rows: int
    estimated_seconds: Annotated[
        float,
        Field(
            description="How long loading the sound rows takes at the pace that the directory "
            "allows, if nothing else is loaded"
        ),
    ]
    errors: list[RowError]
    warnings: list[str]
    preview_hospitals: Annotated[list[PreviewHospital], Field(description="The first 5 sound rows")]
    file_info: FileProperties

    @classmethod
    def of(cls, content: CsvContent, estimated_s: float) -> "ValidationResult":
        """Return what was found in a file, still without its errors."""
        return cls(
            is_valid=content.is_valid,
            total_rows=content.total_rows,
            valid_rows=content.valid_rows,
            invalid_rows=content.total_rows - content.valid_rows,
            estimated_seconds=round(estimated_s, 1),
            errors=[],
            warnings=list(content.warnings),
            preview_hospitals=[
                PreviewHospital(row=row.row, name=row.name, address=row.address, phone=row.phone)
                for row in content.rows[:PREVIEW_ROWS]
            ],
            file_info=FileProperties(
                size_bytes=content.info.size_bytes,
                encoding=content.info.encoding,
                delimiter=content.info.delimiter,
                has_header=content.info.has_header,
            ),
        )
