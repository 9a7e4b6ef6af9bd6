"""What the service spares: the creates of a file of 20 rows sent bare, one after the other."""

from benchmarks.figures import Section, compared
from benchmarks.rig import PART_ROWS, UNLIMITED, bare_creates_s, fresh_rig, upload_s

ABOUT = """
Floor: creates of 5 s with bare httpx, each after the answer to the one before. Once, beside other
measurements that wait.
"""


def measure() -> Section:
    """Send 20 creates, which takes 100 s, then the file."""
    with fresh_rig(*UNLIMITED) as (service, directory, _):
        floor_s = bare_creates_s(directory.url, PART_ROWS, at_once=1)
        pair = upload_s(service.url, PART_ROWS), floor_s
    return Section("One by one", ABOUT, [compared(f"a file of {PART_ROWS} rows", "s", [pair])])
