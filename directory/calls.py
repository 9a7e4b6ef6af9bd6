"""The endpoints of the directory, and how a request becomes a checked call of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, TypeAdapter


class Endpoint(StrEnum):
    """What can be asked of the directory; each has its own rate window."""

    ROOT = "root"
    CREATE = "create"
    LIST_ALL = "list_all"
    GET = "get"
    UPDATE = "update"
    DELETE = "delete"
    LIST_BATCH = "list_batch"
    ACTIVATE = "activate"
    DELETE_BATCH = "delete_batch"


class Resource(Enum):
    """What a path names."""

    ROOT = auto()
    HOSPITALS = auto()
    HOSPITAL = auto()
    BATCH = auto()
    ACTIVATION = auto()


ROUTES: dict[tuple[str, Resource], Endpoint] = {
    ("GET", Resource.ROOT): Endpoint.ROOT,
    ("POST", Resource.HOSPITALS): Endpoint.CREATE,
    ("GET", Resource.HOSPITALS): Endpoint.LIST_ALL,
    ("GET", Resource.HOSPITAL): Endpoint.GET,
    ("PUT", Resource.HOSPITAL): Endpoint.UPDATE,
    ("DELETE", Resource.HOSPITAL): Endpoint.DELETE,
    ("GET", Resource.BATCH): Endpoint.LIST_BATCH,
    ("PATCH", Resource.ACTIVATION): Endpoint.ACTIVATE,
    ("DELETE", Resource.BATCH): Endpoint.DELETE_BATCH,
}


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("needs a character that is not blank")
    return text


_Text = Annotated[str, AfterValidator(_not_blank)]
_HOSPITAL_ID = TypeAdapter(int)
_BATCH_ID = TypeAdapter(UUID)


class _Create(BaseModel):
    name: _Text
    address: _Text
    phone: str | None = None
    creation_batch_id: UUID | None = None


class _Update(BaseModel):
    name: _Text | None = None
    address: _Text | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request that passed validation.

    Attributes:
        hospital_id: The hospital in the path.
        batch_id: The batch in the path, or the one a create belongs to.
        fields: The name, address and phone to write; an update has only those sent.
    """

    endpoint: Endpoint
    hospital_id: int = 0
    batch_id: str | None = None
    fields: Mapping[str, str | None] = field(default_factory=dict)


def locate(path: str) -> tuple[Resource, str] | None:
    """Return what *path* names and its parameter, or None when it names nothing."""
    match path.split("/"):
        case ["", ""]:
            return Resource.ROOT, ""
        case ["", "hospitals", ""]:
            return Resource.HOSPITALS, ""
        case ["", "hospitals", "batch", batch_id] if batch_id:
            return Resource.BATCH, batch_id
        case ["", "hospitals", "batch", batch_id, "activate"] if batch_id:
            return Resource.ACTIVATION, batch_id
        case ["", "hospitals", hospital_id]:
            return Resource.HOSPITAL, hospital_id
        case _:
            return None


def other_slash(path: str) -> str:
    """Return *path* with a trailing slash if it has none, else without."""
    return path.removesuffix("/") if path.endswith("/") else f"{path}/"


def parse(endpoint: Endpoint, parameter: str, body: bytes) -> Call:
    """Return the call of *endpoint*.

    Raises:
        pydantic.ValidationError: The path's parameter or the body is not acceptable.
    """
    match endpoint:
        case Endpoint.ROOT | Endpoint.LIST_ALL:
            return Call(endpoint)
        case Endpoint.CREATE:
            return _parse_create(body)
        case Endpoint.UPDATE:
            hospital_id = _HOSPITAL_ID.validate_strings(parameter)
            changes = _Update.model_validate_json(body).model_dump(exclude_unset=True)
            return Call(endpoint, hospital_id=hospital_id, fields=changes)
        case Endpoint.GET | Endpoint.DELETE:
            return Call(endpoint, hospital_id=_HOSPITAL_ID.validate_strings(parameter))
        case Endpoint.LIST_BATCH | Endpoint.ACTIVATE | Endpoint.DELETE_BATCH:
            return Call(endpoint, batch_id=str(_BATCH_ID.validate_strings(parameter)))


def _parse_create(body: bytes) -> Call:
    sent = _Create.model_validate_json(body)
    batch_id = None if sent.creation_batch_id is None else str(sent.creation_batch_id)
    fields = {"name": sent.name, "address": sent.address, "phone": sent.phone}
    return Call(Endpoint.CREATE, batch_id=batch_id, fields=fields)
