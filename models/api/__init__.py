"""The shapes on the wire, for routers only. Names and shapes are the service's contract."""

from models.api.batches import (
    FIRST_PAGE,
    PAGE_ROWS,
    Abandoned,
    BatchSummary,
    BulkResult,
    Cleaned,
    Correction,
    Progress,
    Resumable,
    RowSelection,
    RowState,
    RowValues,
)
from models.api.files import (
    EXAMPLE_FINDING,
    FileProperties,
    PreviewHospital,
    RowError,
    ValidationResult,
)
from models.api.reports import (
    EXAMPLE_CURSOR,
    BatchList,
    Difference,
    Verification,
)
from models.api.shape import EXAMPLE_ID
from models.api.system import ApiInfo, Health, Problem, Readiness

__all__ = [
    "EXAMPLE_CURSOR",
    "EXAMPLE_FINDING",
    "EXAMPLE_ID",
    "FIRST_PAGE",
    "PAGE_ROWS",
    "Abandoned",
    "ApiInfo",
    "BatchList",
    "BatchSummary",
    "BulkResult",
    "Cleaned",
    "Correction",
    "Difference",
    "FileProperties",
    "Health",
    "PreviewHospital",
    "Problem",
    "Progress",
    "Readiness",
    "Resumable",
    "RowError",
    "RowSelection",
    "RowState",
    "RowValues",
    "ValidationResult",
    "Verification",
]
