"""Who calls: the keys that an operator gives out, and whose batches a caller may see."""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from models.batch import Batch

ADMIN_PREFIX = "admin"
MIN_SECRET_CHARS = 16


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key: its name, which owns batches, and the SHA-256 of its secret, which is kept nowhere."""

    name: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may call.

    Attributes:
        name: The name of the key that was shown; None where none is needed.
        sees_all: Every batch is theirs to see and to change.
    """

    name: str | None
    sees_all: bool

    def may_see(self, batch: Batch) -> bool:
        """Return whether the batch exists for this caller."""
        return self.sees_all or (self.name is not None and batch.owner == self.name)


ANYBODY = Caller(None, sees_all=True)
"""Whoever calls a service that has no keys, and the service itself."""


def read_keys(text: str) -> tuple[ApiKey, ...]:
    """Read `name:secret` pairs, separated by commas or line breaks.

    A name may stand there with several secrets, so that one can be replaced without a gap.

    Raises:
        ValueError: What is wrong, without any secret.
    """
    parts = [part for part in re.split(r"[,\n]", text) if part.strip()]
    keys = tuple(_read_key(part, number) for number, part in enumerate(parts, 1))
    if not keys:
        raise ValueError("it names no key: write name:secret, or leave it empty")
    return all_different(keys)


def all_different(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
    """Return *keys*; ValueError if two have one secret."""
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("a secret stands there twice, so that it does not tell who calls")
    return keys


def caller_of(secret: bytes, keys: Iterable[ApiKey]) -> Caller | None:
    """Return whose *secret* it is; None if nobody's. The time taken tells nothing about it."""
    digest = sha256(secret).digest()
    matching = [key.name for key in keys if hmac.compare_digest(key.digest, digest)]
    return Caller(matching[0], matching[0].startswith(ADMIN_PREFIX)) if matching else None


def _read_key(part: str, number: int) -> ApiKey:
    name, colon, secret = part.strip().partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise ValueError(
            "each key must be name:secret, the name of up to 64 letters, digits and . _ -, and "
            f"number {number} is not"
        )
    if len(secret) < MIN_SECRET_CHARS or not re.fullmatch(r"[!-~]+", secret):
        raise ValueError(
            f"the secret of {name} must have at least {MIN_SECRET_CHARS} characters, "
            "ASCII without blanks and commas"
        )
    return ApiKey(name, sha256(secret.encode()).digest())
