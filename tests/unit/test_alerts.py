"""The alert rules in deploy/: they ask only for what the service shows, and say what to do."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config import Settings
from main import create_app
from services.hospital_api import HospitalApi
from services.meters import Meters
from services.progress_tracker import ProgressTracker
from services.storage.json_files import JsonFiles
from wiring.service import build_service

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = (DEPLOY / "alerts.yml").read_text()
ALERTS = dict(re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", RULES, re.DOTALL))
SELECTOR = re.compile(r"\b(hospital_bulk_\w+)(?:\{(\w+=[^}]*)\})?")
CONDITION = re.compile(r'(\w+)=~?"([^"]*)"')

Shown = dict[str, dict[str, set[str]]]  # metric -> label -> values


@pytest.fixture
async def shown(tmp_path: Path) -> Shown:
    """What a service shows that has been asked for nothing but broke once."""
    settings = Settings(_env_file=None)
    meters = Meters(settings.app_version)
    api = HospitalApi("http://directory.test", timeout_s=1, connect_timeout_s=1)
    build_service(settings, api, ProgressTracker(JsonFiles(tmp_path)), lambda: None, meters)
    meters.answered("GET", "/health", 500, 0.0)
    shown: Shown = {}
    for family in meters.registry.collect():
        for sample in family.samples:
            labels = shown.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return shown


async def test_an_alert_asks_only_for_metrics_labels_and_values_that_the_service_shows(
    shown: Shown,
):
    selectors = SELECTOR.findall(RULES)

    assert len(selectors) >= len(ALERTS)
    for name, conditions in selectors:
        assert name in shown
        for label, wanted in CONDITION.findall(conditions):
            assert label in shown[name], f"{name} has no label {label}"
            assert set(wanted.split("|")) <= shown[name][label], f"{name}: {label}={wanted}"


def test_there_are_few_alerts():
    assert len(ALERTS) == RULES.count("alert:")
    assert 3 <= len(ALERTS) <= 5


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_grave_it_is_what_it_means_and_where_to_read_on(name: str):
    rule = ALERTS[name]

    assert re.search(r"severity: (critical|warning)\n", rule)
    assert re.search(r"\n +for: \d+m\n", rule)
    assert re.search(r'\n +summary: "[^"]{20,}"\n', rule)
    assert re.search(r"\n +description: >-\n", rule)
    assert re.search(r"runbook_url: docs/operations\.md#[a-z-]+$", rule.strip())


def test_where_an_alert_leads_there_is_something_to_read():
    guide = (DEPLOY.parent / "docs" / "operations.md").read_text()
    headings = re.findall(r"^#+ (.+)$", guide, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}

    assert set(re.findall(r"operations\.md#([a-z-]+)", RULES)) - anchors == set()


def test_what_an_alert_tells_to_call_is_there():
    document = create_app(Settings(_env_file=None)).openapi()
    calls = re.findall(r"\b(GET|POST|PATCH|DELETE)\s+(/[\w/{}.]+)", RULES)

    assert calls
    for method, path in calls:
        assert method.lower() in document["paths"][path.rstrip(".")], f"{method} {path}"


def test_what_an_alert_names_in_capitals_is_a_setting():
    description = re.sub(r"\b(GET|POST|PATCH|DELETE|ERROR)\b", "", RULES)
    names = set(re.findall(r"\b[A-Z][A-Z_]+[A-Z]\b", description))

    assert {name.lower() for name in names} - set(Settings.model_fields) == set()
    assert names


def test_what_an_alert_quotes_of_a_batch_is_what_the_service_says():
    quoted = re.findall(r'"([a-z ]{20,})"', " ".join(RULES.split()))
    code = "".join(path.read_text() for path in (DEPLOY.parent / "services").glob("*.py"))

    assert len(quoted) == 2
    assert [words for words in quoted if words not in code] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus)")
@pytest.mark.parametrize("check", [("check", "alerts.yml"), ("test", "alerts_test.yml")])
def test_prometheus_takes_the_rules_and_they_fire_when_they_should(check: tuple[str, str]):
    command, file = check

    done = subprocess.run(
        ["promtool", command, "rules", DEPLOY / file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
