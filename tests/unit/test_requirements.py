"""What is installed is what was asked for, pinned to the file; its licences are allowed."""

import re
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import licences
from scripts.licences import is_allowed, licence_of, pinned

ROOT = Path(__file__).parents[2]
NAMES = ["requirements", "requirements-cli", "requirements-postgres", "requirements-dev"]
LOCKED = [
    pytest.param(ROOT / f"{name}.in", ROOT / f"{name}.txt", id=f"{name}.txt") for name in NAMES
]


def asked_for(file: Path) -> Iterator[Requirement]:
    """Yield what a `.in` file asks for, with the files that it takes in."""
    for line in re.sub(r"(^|\s)#.*", "", file.read_text()).splitlines():
        if line.startswith("-r "):
            yield from asked_for(ROOT / line.removeprefix("-r ").strip())
        elif line.strip() and not line.startswith("-c "):
            yield Requirement(line)


def needed(requirement: Requirement, known: set[tuple[str, str]]) -> None:
    """Add to *known* every (package, extra) that an installed requirement needs on this machine."""
    name = canonicalize_name(requirement.name)
    for extra in {"", *requirement.extras}:
        if (name, extra) in known:
            continue
        known.add((name, extra))
        for further in map(Requirement, requires(name) or ()):
            if further.marker is None or further.marker.evaluate({"extra": extra}):
                needed(further, known)


def for_this_machine(file: Path) -> set[str]:
    """Return the names pinned in *file*, without those whose marker excludes this machine."""
    lines = re.findall(r"^([\w.-]+==[^\\\n]+)", file.read_text(), re.M)
    pins = [Requirement(line.strip()) for line in lines]
    return {canonicalize_name(pin.name) for pin in pins if not pin.marker or pin.marker.evaluate()}


@pytest.mark.parametrize(("source", "locked"), LOCKED)
def test_everything_that_is_asked_for_is_pinned_with_all_it_needs_and_nothing_else(
    source: Path, locked: Path
):
    known: set[tuple[str, str]] = set()
    for requirement in asked_for(source):
        needed(requirement, known)

    assert for_this_machine(locked) == {name for name, _ in known}, "run `make lock`"


@pytest.mark.parametrize(("source", "locked"), LOCKED)
def test_the_pinned_versions_are_those_asked_for_and_those_installed(source: Path, locked: Path):
    pins = pinned(locked)

    for requirement in asked_for(source):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), (
            "run `make lock`"
        )
    for name in for_this_machine(locked):
        assert version(name) == pins[name]


@pytest.mark.parametrize(("source", "locked"), LOCKED)
def test_every_pin_has_hashes_and_no_address(source: Path, locked: Path):
    text = locked.read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.M)[1:]

    assert len(entries) == len(pinned(locked)) == len(re.findall(r"\S==\S", text))
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    for file in (source, locked):
        assert re.findall(r"://|@|--(?:extra-|no-)?index|--find|--trusted", file.read_text()) == []


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_tools_are_tested_with_the_versions_that_are_deployed(name: str):
    deployed = pinned(ROOT / "requirements.txt")
    others = pinned(ROOT / f"{name}.txt")

    shared = deployed.keys() & others.keys()
    assert shared
    assert [package for package in shared if others[package] != deployed[package]] == []


def test_every_runtime_dependency_has_a_licence_that_is_allowed():
    of = {name: licence_of(name) for name in pinned(ROOT / "requirements.txt")}

    assert {name: licence for name, licence in of.items() if not is_allowed(licence)} == {}


def test_what_a_database_needs_has_a_licence_that_is_allowed_for_it():
    of = {name: licence_of(name) for name in licences.with_a_database()}
    allowed = licences.ALLOWED_WITH_A_DATABASE

    assert {name: licence for name, licence in of.items() if not is_allowed(licence, allowed)} == {}


@pytest.mark.parametrize("licence", ["MIT", "MIT OR GPL-3.0-only", "Apache-2.0 AND BSD-2-Clause"])
def test_a_licence_is_allowed_when_one_of_its_choices_is(licence: str):
    assert is_allowed(licence)


@pytest.mark.parametrize(
    "licence", ["unknown", "GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT OR X)"]
)
def test_any_other_licence_is_not(licence: str):
    assert not is_allowed(licence)


def test_the_list_of_licences_is_up_to_date():
    assert licences.PAGE.read_text() == licences.page(), "run `make licences`"
