"""What is written for people agrees with the code: settings, routes, targets, links, decisions."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI

from config import Settings
from main import create_app
from services.csv_processor import read_csv

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
GUIDES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/reliability.md",
    "docs/operations.md",
    "docs/scaling.md",
]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
NAMES = {name.upper() for name in Settings.model_fields}
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def app() -> FastAPI:
    return create_app(Settings(_env_file=None))


def table_defaults(text: str) -> dict[str, str]:
    """Return the settings of README's table: name -> default as it is written there."""
    return dict(re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`|empty) \|", text, re.M))


def example_defaults(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# ?([A-Z][A-Z_]+)=(.*)$", text, re.M))


def settings_with(values: dict[str, str], folder: Path) -> Settings:
    """Return the settings as a .env with *values* makes them."""
    file = folder / "written.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return Settings(_env_file=file)


def make_targets(text: str) -> set[str]:
    """Return the targets of the make commands in *text*, in a line of code or in a block."""
    return set(re.findall(r"(?:`|^\$? ?)make (?:[A-Z]+=\S+ )?([a-z][a-z-]*)", text, re.M))


def test_the_readme_has_every_setting_with_its_default(tmp_path: Path):
    written = table_defaults(README)

    assert set(written) == NAMES
    assert settings_with(written, tmp_path) == Settings(_env_file=None)


def test_the_example_has_every_setting_with_its_default(tmp_path: Path):
    written = example_defaults(ENV_EXAMPLE)

    assert set(written) == NAMES
    assert settings_with(written, tmp_path) == Settings(_env_file=None)


def test_the_example_sets_nothing_before_it_is_edited():
    assert [line for line in ENV_EXAMPLE.splitlines() if line and not line.startswith("#")] == []


def test_the_readme_names_every_route(app: FastAPI):
    routes = {
        f"{method.upper()} {path}"
        for path, item in app.openapi()["paths"].items()
        for method in item
        if method in METHODS
    }
    pages = {"/docs", "/redoc", str(app.openapi_url)}

    assert [name for name in routes | pages if f"`{name}`" not in README] == []


@pytest.mark.parametrize("guide", GUIDES)
def test_every_make_target_that_is_named_exists(guide: str):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))

    assert make_targets((ROOT / guide).read_text()) <= targets


def test_the_readme_names_the_targets_that_a_newcomer_needs():
    assert make_targets(README) >= {"demo", "test", "run", "check", "help"}


@pytest.mark.parametrize("guide", GUIDES)
def test_every_link_to_a_file_of_the_project_leads_somewhere(guide: str):
    page = ROOT / guide
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_map_of_the_readme_names_every_module_of_the_services():
    modules = {path.name for path in (ROOT / "services").glob("*.py")} - {"__init__.py"}

    assert [module for module in modules if module not in README] == []


def test_there_are_decisions():
    assert DECISIONS


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_says_why_what_follows_and_what_else_there_was(decision: Path):
    sections = re.findall(r"^## (.+?) *$", decision.read_text(), re.M)

    assert {"Context", "Decision", "Consequences", "Alternatives"} <= set(sections)


def test_the_sample_is_a_full_file_without_a_finding():
    with (ROOT / "sample_hospitals.csv").open("rb") as file:
        content = read_csv(file, max_rows=Settings(_env_file=None).max_csv_size)

    assert (list(content.errors), content.warnings) == ([], ())
    assert len(content.rows) == 20
