"""What a batch is doing right now, and how long it will take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is told of a batch beyond its rows.

    Attributes:
        step: What it is doing or waiting for, for a person.
        eta_s: Seconds until it has ended if nothing fails from here; None when unknown.
    """

    step: str
    eta_s: float | None
