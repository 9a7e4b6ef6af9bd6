"""What the image holds and runs, read from the Dockerfile and .dockerignore."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
IMAGE = DOCKERFILE.rpartition("\nFROM ")[2]
"""The last stage: all else is thrown away."""

LET_THROUGH = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M)


def instruction(pattern: str) -> str:
    """Return what the last stage's one instruction of *pattern* says."""
    [found] = re.findall(rf"^{pattern}(.+)$", IMAGE, re.M)
    return str(found)


def command() -> list[str]:
    """Return the command of the image."""
    found: list[str] = json.loads(instruction("CMD "))
    return found


def health_check() -> list[str]:
    """Return the command that says whether a container of the image is healthy."""
    found: list[str] = json.loads(instruction("HEALTHCHECK .*CMD "))
    return found


def user() -> int:
    """Return the number of the user, and of the group, that the image runs as."""
    uid, gid = instruction("USER ").split(":")
    assert uid == gid
    return int(uid)


def copied() -> list[str]:
    """Return what is copied from the project, as it is written."""
    lines = [line.split() for line in re.findall(r"^COPY (?!--from)(.+)$", IMAGE, re.M)]
    return [source.rstrip("/") for *sources, _ in lines for source in sources]


def build(folder: Path) -> None:
    """Put the project's files into *folder* as the image has them."""
    for name in copied():
        assert name in LET_THROUGH, f"{name} is copied, but .dockerignore keeps it out"
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=_left_out)
        else:
            shutil.copy(source, folder / name)
    (folder / "batch_storage").mkdir()


def _left_out(folder: Any, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__" or name.endswith(".pyc")}
