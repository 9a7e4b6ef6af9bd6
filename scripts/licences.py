"""Writes docs/licences.md: under which licence each runtime dependency is.

The versions are those of requirements.txt, and of requirements-postgres.txt for what a database
needs; the licences what the installed packages say of themselves: `python -m scripts.licences`.
"""

import re
from collections.abc import Set
from importlib.metadata import metadata
from pathlib import Path

from scripts.processes import ROOT

PAGE = ROOT / "docs" / "licences.md"
ALLOWED = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "PSF-2.0"}
# psycopg: used as it is, as a library, and only with a database.
ALLOWED_WITH_A_DATABASE = ALLOWED | {"LGPL-3.0-only"}
CLASSIFIER = "License :: OSI Approved :: "
SPDX = {"MIT License": "MIT"}  # older ways to say it
HEAD = """# Licences of the runtime dependencies

What `requirements.txt` installs, written by `make licences`. Allowed are: {allowed}.

| package | version | licence |
|---|---|---|
{rows}
What `requirements-postgres.txt` installs besides, for `DATABASE_URL`. The LGPL of psycopg allows
its use as a library beside any licence, as long as it can be replaced.

| package | version | licence |
|---|---|---|
{rows_with_a_database}"""


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
    classified = [one for one in told.get("classifier", ()) if one.startswith(CLASSIFIER)]
    licence = told.get("license_expression") or told.get("license") or "".join(classified)
    licence = str(licence).removeprefix(CLASSIFIER) or "unknown"
    return SPDX.get(licence, licence)


def is_allowed(licence: str, allowed: Set[str] = ALLOWED) -> bool:
    """Return whether one of the alternatives of an SPDX expression is allowed in all its parts."""
    return any(set(choice.split(" AND ")) <= allowed for choice in licence.split(" OR "))


def with_a_database() -> dict[str, str]:
    """Return what a database needs beside the rest: name -> version."""
    always = pinned(ROOT / "requirements.txt")
    besides = pinned(ROOT / "requirements-postgres.txt")
    return {name: version for name, version in besides.items() if name not in always}


def _rows(packages: dict[str, str]) -> str:
    lines = [
        f"| {name} | {version} | {licence_of(name)} |\n"
        for name, version in sorted(packages.items())
    ]
    return "".join(lines)


def page() -> str:
    """Return docs/licences.md as it must be."""
    return (
        HEAD.format(
            allowed=", ".join(sorted(ALLOWED)),
            rows=_rows(pinned(ROOT / "requirements.txt")),
            rows_with_a_database=_rows(with_a_database()),
        )
        + VENDORED
    )


if __name__ == "__main__":
    PAGE.write_text(page())
