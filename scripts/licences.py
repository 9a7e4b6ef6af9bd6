"""Writes docs/licences.md: under which licence each runtime dependency is.

The versions are those of requirements.txt, the licences what the installed packages say of
themselves: `python -m scripts.licences`.
"""

import re
from importlib.metadata import metadata
from pathlib import Path

from scripts.processes import ROOT

PAGE = ROOT / "docs" / "licences.md"
ALLOWED = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "PSF-2.0"}
SPDX = {"MIT License": "MIT"}  # older ways to say it
HEAD = """# Licences of the runtime dependencies

What `requirements.txt` installs, written by `make licences`. Allowed are: {allowed}.

| package | version | licence |
|---|---|---|
"""


VENDORED = """
In the project itself, each with its licence beside it: Pico.css (MIT) in
[routers/static/dashboard](../routers/static/dashboard), Swagger UI (Apache-2.0) and ReDoc (MIT) in
[routers/static/docs](../routers/static/docs).
"""


def pinned(file: Path) -> dict[str, str]:
    """Return the pins of a requirements file: name -> version."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", file.read_text(), re.M))


def licence_of(package: str) -> str:
    """Return the licence of an installed package as an SPDX expression, as far as it says one."""
    told = metadata(package).json
    licence = str(told.get("license_expression") or told.get("license") or "unknown")
    return SPDX.get(licence, licence)


def is_allowed(licence: str) -> bool:
    """Return whether one of the alternatives of an SPDX expression is allowed in all its parts."""
    return any(set(choice.split(" AND ")) <= ALLOWED for choice in licence.split(" OR "))


def page() -> str:
    """Return docs/licences.md as it must be."""
    rows = [
        f"| {name} | {version} | {licence_of(name)} |\n"
        for name, version in sorted(pinned(ROOT / "requirements.txt").items())
    ]
    return HEAD.format(allowed=", ".join(sorted(ALLOWED))) + "".join(rows) + VENDORED


if __name__ == "__main__":
    PAGE.write_text(page())
