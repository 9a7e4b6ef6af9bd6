"""What the service spares: the creates of a file of 20 rows sent bare, one after the other."""

from benchmarks.figures import Figure, Section
from benchmarks.rig import UNLIMITED, bare_creates_s, fresh_rig

ROWS = 20
ABOUT = """
Creates of 5 s with bare httpx, each after the answer to the one before; once, beside other
measurements that wait.
"""


def measure() -> Section:
    """Send 20 creates, which takes 100 s."""
    with fresh_rig(*UNLIMITED) as (_, directory, _):
        seconds = bare_creates_s(directory.url, ROWS, at_once=1)
    return Section("One by one", ABOUT, [Figure(f"{ROWS} creates one by one", seconds, "s")])
