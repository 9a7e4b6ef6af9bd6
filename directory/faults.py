"""Scripted misfortune: which request meets which fault.

Only the choice is made here; `desk` and `app` make the faults happen. Luck is injected, so
the same seed and the same requests meet the same faults.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from directory.calls import Call, Endpoint

LONGEST_HANG_S = 3600.0


class FaultKind(StrEnum):
    """What goes wrong; "applied" for a read means that its answer was worked out."""

    DROP_BEFORE = "drop_before"  # connection dropped, nothing applied, no hit counted
    DROP_AFTER = "drop_after"  # applied, then the connection is dropped without a byte
    ERROR_BEFORE = "error_before"  # `status`, nothing applied
    ERROR_AFTER = "error_after"  # applied, then `status`
    GARBLED = "garbled"  # applied, then 200 with HTML
    TRUNCATED = "truncated"  # applied, then half of the body and the connection is dropped
    HANG = "hang"  # applied, no answer for `seconds` or until the client leaves, then dropped
    LATE = "late"  # connection dropped at once, applied `seconds` later
    LATE_ERROR = "late_error"  # `status` with HTML at once, applied `seconds` later
    STALL = "stall"  # no answer until the client leaves, applied `seconds` later
    REFUSE = "refuse"  # 429, nothing applied, no hit counted
    GATEWAY = "gateway"  # `status` with HTML by something in between, no hit counted
    SLOW = "slow"  # the right answer, `seconds` later than usual
    LOSE = "lose"  # the right answer, but nothing stays
    REJECT = "reject"  # a create: 422 for its content, nothing applied, no hit counted
    FULL = "full"  # a create: the 400 of a full batch
    PARTIAL = "partial"  # an activation: half of the rows become active, then `status`


ONLY_FOR = {
    FaultKind.REJECT: Endpoint.CREATE,
    FaultKind.FULL: Endpoint.CREATE,
    FaultKind.PARTIAL: Endpoint.ACTIVATE,
}
_STATUS: dict[str, int] = {FaultKind.GATEWAY: 404, FaultKind.LATE_ERROR: 502}
_SECONDS: dict[str, float] = {FaultKind.HANG: LONGEST_HANG_S}


class FaultRule(BaseModel):
    """Which requests meet a fault, and how often.

    Attributes:
        times: How many requests meet it; None is all until the rule is removed.
        skip: How many matching requests pass unharmed first.
        probability: Chance that a matching request meets it.
        name: Only creates of a hospital with this name.
        seconds: For hang (default 3600), late, late_error, stall and slow (default 5).
        status: For error_before, error_after and partial (default 500), gateway (404) and
            late_error (502).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Endpoint | Literal["any"]
    kind: FaultKind
    times: int | None = Field(default=None, ge=1)
    skip: int = Field(default=0, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    name: str | None = None
    seconds: float = Field(default=5.0, ge=0)
    status: int = Field(default=500, ge=200, le=599)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_what_the_kind_implies(cls, rule: object) -> object:
        if not isinstance(rule, dict):
            return rule
        kind = str(rule.get("kind"))
        implied = {"status": _STATUS.get(kind), "seconds": _SECONDS.get(kind)}
        given = {key: value for key, value in rule.items() if value is not None}
        return {key: value for key, value in implied.items() if value is not None} | given

    @model_validator(mode="after")
    def _can_ever_match(self) -> Self:
        only = Endpoint.CREATE if self.name is not None else None
        for needed in {ONLY_FOR.get(self.kind), only} - {None}:
            if self.endpoint not in ("any", needed):
                raise ValueError(f"{self.endpoint} never matches: this is for {needed} only")
        return self

    def covers(self, call: Call) -> bool:
        """Return whether *call* is one of those that may meet this fault."""
        if self.endpoint not in ("any", call.endpoint):
            return False
        if ONLY_FOR.get(self.kind, call.endpoint) is not call.endpoint:
            return False
        if self.name is None:
            return True
        return call.endpoint is Endpoint.CREATE and call.fields["name"] == self.name


@dataclass(slots=True)
class Fault:
    """A rule in force and how far it is used up."""

    rule: FaultRule
    seen: int = 0
    met: int = 0

    @property
    def spent(self) -> bool:
        return self.rule.times is not None and self.met >= self.rule.times

    @property
    def rest(self) -> FaultRule:
        """Return the rule for what is still to come."""
        times = None if self.rule.times is None else self.rule.times - self.met
        skip = max(0, self.rule.skip - self.seen)
        return self.rule.model_copy(update={"times": times, "skip": skip})


class FaultBook:
    """The rules in force: the first that covers a call, and is not spent, wins."""

    def __init__(self, luck: Callable[[], float]) -> None:
        self._luck = luck
        self._faults: list[Fault] = []

    @property
    def rules(self) -> list[FaultRule]:
        """What is still to come, so that putting the list back changes nothing."""
        return [fault.rest for fault in self._faults if not fault.spent]

    def replace(self, rules: Iterable[FaultRule]) -> None:
        self._faults = [Fault(rule) for rule in rules]

    def pick(self, call: Call) -> Fault | None:
        """Return the fault that *call* meets, and count it."""
        for fault in self._faults:
            if not fault.spent and fault.rule.covers(call) and self._strikes(fault):
                fault.met += 1
                return fault
        return None

    def give_back(self, fault: Fault) -> None:
        """Take back a `pick` that came to nothing: the call was refused for its rate."""
        fault.met -= 1

    def _strikes(self, fault: Fault) -> bool:
        fault.seen += 1
        if fault.seen <= fault.rule.skip:
            return False
        return fault.rule.probability >= 1 or self._luck() < fault.rule.probability
