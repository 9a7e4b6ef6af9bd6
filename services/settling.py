"""When a look at the directory proves that something is not there. Pure: time is an argument.

A create, an activation or a delete may be applied after its connection is gone. The first look
that is answered shows that the directory works off its queue again; only a second look, sent the
settling time after that answer, proves absence. All times are monotonic seconds.
"""


class Settling:
    """Whether anything sent earlier for one batch may still be applied.

    Args:
        settle_s: How long a request may still be applied after the directory answered a later one.
        in_doubt: True if an earlier run left something unsettled.
    """

    def __init__(self, settle_s: float, *, in_doubt: bool) -> None:
        self._settle_s = settle_s
        self._in_doubt = in_doubt
        self._first_answer_s: float | None = None

    @property
    def is_settled(self) -> bool:
        return not self._in_doubt

    def doubt(self) -> None:
        """Note that an exchange just ended with an unknown outcome: two looks are due from here."""
        self._in_doubt = True
        self._first_answer_s = None

    def looked(self, sent_s: float, answered_s: float) -> None:
        """Note an answered look."""
        if not self._in_doubt:
            return
        if self._first_answer_s is None:
            self._first_answer_s = answered_s
        elif sent_s >= self._first_answer_s + self._settle_s:
            self._in_doubt = False

    def wait_s(self, now_s: float) -> float:
        """Return how long to wait before the next look; 0.0 if one is due now."""
        if not self._in_doubt or self._first_answer_s is None:
            return 0.0
        return max(0.0, self._first_answer_s + self._settle_s - now_s)
