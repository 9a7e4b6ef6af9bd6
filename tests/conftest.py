"""How hard hypothesis tries: the same examples in every ordinary run, many new ones when asked.

No test speaks TLS, but each client of httpx, and so each start of the service, would read some 140
certificates (15 to 40 ms). From a folder they are read only when one is looked for.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ordinary", derandomize=True)
settings.register_profile("deep", max_examples=10_000)
settings.load_profile("ordinary")

os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)

LONGEST = "test_histories.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest file of tests begin first: begun last, it would run alone at the end."""
    items.sort(key=lambda item: item.path.name != LONGEST)
