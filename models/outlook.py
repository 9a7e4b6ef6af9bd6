"""What a batch waits for, what is said of it, and how long it will take."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the requests of a batch stand that wait for their turn at one endpoint.

    Attributes:
        waiting: How many of the batch wait.
        ahead: Batches whose turn comes before, the next one first.
        batches: How many batches wait, this one too.
        opens_in_s: Seconds until the rate window lets the next request leave; 0.0: it would now.
        last_in_s: Seconds until the batch's last one leaves if none is refused, estimated.
        is_refused: The directory refuses requests, which others must have used up.
    """

    waiting: int
    ahead: tuple[UUID, ...]
    batches: int
    opens_in_s: float
    last_in_s: float
    is_refused: bool


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a running batch has on the way to the directory.

    Attributes:
        creates: Its creates that wait for their turn; None if there are none.
        lookups: Its other requests that do.
        usual_s: Seconds that a create takes lately.
        answered_in_s: Seconds until its creates under way are answered if they take as long; None
            if there are none or they are overdue.
        activated_in_s: Seconds that the activations to come take, all rows being there.
        silent_since_s: Monotonic time since when the directory is waited for; None if it is not.
    """

    creates: Standing | None
    lookups: Standing | None
    usual_s: float
    answered_in_s: float | None
    activated_in_s: float
    silent_since_s: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is told of a batch beyond its rows.

    Attributes:
        step: What it is doing or waiting for, for a person.
        eta_s: Seconds until it has ended if nothing fails from here; None when unknown.
    """

    step: str
    eta_s: float | None

    def later(self, seconds: float) -> "Outlook":
        """Return what is told *seconds* after this was."""
        return Outlook(self.step, None if self.eta_s is None else max(0.0, self.eta_s - seconds))
