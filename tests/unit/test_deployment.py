"""The image, the compose file and the Blueprint say what an operator may rely on."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import Settings
from main import create_app
from tests.deployment import DOCKERFILE, IMAGE, LET_THROUGH, ROOT, copied, user

COMPOSE = ROOT / "docker-compose.yml"
BLUEPRINT_FILE = ROOT / "render.yaml"
BLUEPRINT = yaml.safe_load(BLUEPRINT_FILE.read_text())

# https://render.com/docs/blueprint-spec, those of a web service of runtime python.
FIELDS = {"type", "name", "runtime", "plan", "region", "branch", "numInstances", "buildCommand"}
FIELDS |= {"startCommand", "preDeployCommand", "healthCheckPath", "domains", "envVars", "disk"}
FIELDS |= {"autoDeployTrigger", "buildFilter", "rootDir"}
# Several processes, as an option.
SHARED = {"database", "migrate", "web", "worker", "proxy"}


def compose(file: Path) -> dict[str, Any]:
    """Return the compose file as Docker Compose understands it."""
    tool = Path(sys.executable).with_name("docker-compose")
    asked = [str(tool), "--file", str(file), "--project-name", "test", "--profile", "scale"]
    asked += ["config", "--format", "json"]
    done = subprocess.run(asked, capture_output=True, check=True, text=True)
    services: dict[str, Any] = json.loads(done.stdout)
    return services


def test_the_image_copies_what_the_service_consists_of_and_nothing_else():
    assert set(copied()) == {
        *("main.py", "worker.py", "database.py", "connections.py", "lifecycle.py", "config.py"),
        *("wiring", "models", "services", "routers", "directory"),
    }
    assert set(LET_THROUGH) == {*copied(), "requirements.txt", "requirements-postgres.txt"}


def test_the_image_is_built_elsewhere_and_has_no_rights():
    assert user() == 10001
    assert re.findall(r"\bpip\b|\bapt-get\b|\brequirements", IMAGE) == []
    assert re.findall(r"^COPY --from=(\S+) (\S+)", IMAGE, re.M) == [("build", "/opt/venv")]
    assert "--require-hashes" in DOCKERFILE


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = compose(COMPOSE)["services"]
    return found


@pytest.mark.parametrize("name", ["api", "directory", "web", "worker", "migrate"])
def test_a_composed_service_cannot_write_or_gain_rights(services: dict[str, Any], name: str):
    service = services[name]

    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}


def test_what_shares_a_database_starts_only_when_it_is_asked_for(services: dict[str, Any]):
    asked_for = {name for name, service in services.items() if "profiles" in service}

    assert asked_for == SHARED
    assert all(services[name]["profiles"] == ["scale"] for name in SHARED)
    assert [name for name in sorted(SHARED) if "ports" in services[name]] == ["proxy"]
    assert {port["host_ip"] for port in services["proxy"]["ports"]} == {"127.0.0.1"}


def test_two_web_processes_and_two_workers_share_a_database_that_is_migrated_before(
    services: dict[str, Any],
):
    web, worker, migrate = services["web"], services["worker"], services["migrate"]
    grace_s = Settings(_env_file=None).shutdown_grace_seconds + 5

    assert (web["deploy"]["replicas"], worker["deploy"]["replicas"]) == (2, 2)
    assert web["environment"]["RUN_BATCHES"] == "false"
    assert "RUN_BATCHES" not in worker["environment"]
    assert worker["command"] == ["python", "-m", "worker"]
    assert migrate["command"] == ["python", "-m", "database", "migrate"]
    urls = {service["environment"]["DATABASE_URL"] for service in (web, worker, migrate)}
    user, password = (
        services["database"]["environment"][f"POSTGRES_{n}"] for n in ("USER", "PASSWORD")
    )
    assert urls == {f"postgresql://{user}:{password}@database/{user}"}
    for process in (web, worker):
        assert process["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert float(process["stop_grace_period"].removesuffix("s")) >= grace_s
    assert migrate["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["proxy"]["depends_on"]["web"]["condition"] == "service_healthy"


def test_of_the_processes_that_share_a_database_those_that_end_are_started_again(
    services: dict[str, Any],
):
    again = {name for name, service in services.items() if "restart" in service}

    assert again == SHARED - {"migrate"}
    assert {services[name]["restart"] for name in again} == {"unless-stopped"}


def test_where_prometheus_finds_the_processes_they_show_their_metrics(services: dict[str, Any]):
    found = dict(
        re.findall(
            r"dns_sd_configs: \[\{names: \[(\w+)\], type: A, port: (\d+)\}\]", COMPOSE.read_text()
        )
    )

    assert found == {
        "worker": services["worker"]["environment"]["WORKER_METRICS_PORT"],
        "web": re.findall(r"PORT:-(\d+)", DOCKERFILE)[0],
    }


def test_the_proxy_goes_to_the_web_processes_and_holds_no_events_back(services: dict[str, Any]):
    [mounted] = services["proxy"]["volumes"]
    rules = Path(mounted["source"]).read_text()

    assert mounted["target"] == "/etc/caddy/Caddyfile"
    assert re.search(r"name web\n\s+port 8000\n", rules)
    assert "lb_try_duration" in rules
    assert "flush_interval -1" in rules


def test_the_composed_service_waits_for_a_healthy_directory_and_keeps_its_batches(
    services: dict[str, Any],
):
    api = services["api"]

    assert api["depends_on"]["directory"]["condition"] == "service_healthy"
    assert services["directory"]["healthcheck"]["test"]
    assert "healthcheck" not in api  # the image's own
    assert api["volumes"][0]["target"] == "/app/batch_storage"
    grace_s = float(api["stop_grace_period"].removesuffix("s"))
    assert grace_s >= Settings(_env_file=None).shutdown_grace_seconds + 5


def test_the_lines_about_keys_work_when_they_are_uncommented(tmp_path: Path):
    text = COMPOSE.read_text()
    keys = re.sub(
        r"^( *)# ( *)(API_KEYS_FILE:|secrets:|api_keys:|file:)", r"\1\2\3", text, flags=re.M
    )
    (tmp_path / "docker-compose.yml").write_text(keys)
    (tmp_path / "api_keys.txt").write_text("north:a-secret-of-the-north\n")

    composed = compose(tmp_path / "docker-compose.yml")

    [secret] = composed["services"]["api"]["secrets"]
    [mounted] = composed["secrets"].values()
    place = composed["services"]["api"]["environment"]["API_KEYS_FILE"]
    assert place == f"/run/secrets/{secret['source']}"
    assert mounted["file"] == str(tmp_path / "api_keys.txt")


def test_the_blueprint_has_one_service_of_one_instance_with_a_disk():
    [service] = BLUEPRINT["services"]
    settings = {entry["key"]: entry for entry in service["envVars"]}

    assert set(BLUEPRINT) == {"services"}
    assert set(service) <= FIELDS
    assert (service["type"], service["runtime"], service["numInstances"]) == ("web", "python", 1)
    assert service["plan"] != "free"  # a free service has no disk
    assert service["buildCommand"] == "pip install -r requirements.txt"
    assert service["startCommand"] == "uvicorn main:app --host 0.0.0.0 --port $PORT"
    assert set(service["disk"]) == {"name", "mountPath", "sizeGB"}
    assert settings["BATCH_STORAGE_DIR"]["value"] == service["disk"]["mountPath"]
    assert settings["API_KEYS"] == {"key": "API_KEYS", "sync": False}


def test_the_blueprint_names_what_there_is():
    [service] = BLUEPRINT["services"]
    app = create_app(Settings(_env_file=None))
    platform = {"PYTHON_VERSION", "FORWARDED_ALLOW_IPS"}  # Render's, uvicorn's
    values = {entry["key"]: entry.get("value") for entry in service["envVars"]}

    assert values.keys() - platform <= {name.upper() for name in Settings.model_fields}
    assert service["healthCheckPath"] in app.openapi()["paths"]
    assert re.fullmatch(r"3\.11\.\d+", values["PYTHON_VERSION"])
    assert re.findall(r"FROM python:(\d\.\d+)-slim", DOCKERFILE) == ["3.11"] * 2
    assert all(isinstance(value, str | None) for value in values.values())


def test_the_blueprint_shows_several_instances_as_an_option():
    option = BLUEPRINT_FILE.read_text().partition(
        "# ---- Several instances on one database ----\n"
    )[2]
    shown = yaml.safe_load(re.sub("^# ?", "", option, flags=re.M))
    web, worker = shown["services"]
    platform = {"PYTHON_VERSION", "FORWARDED_ALLOW_IPS"}

    assert shown["databases"][0]["ipAllowList"] == []  # closed to the internet
    assert (web["type"], worker["type"]) == ("web", "worker")
    assert (web["numInstances"], worker["numInstances"]) == (2, 2)
    assert web["preDeployCommand"] == "python -m database migrate"
    assert worker["startCommand"] == "python -m worker"
    for service in (web, worker):
        settings = {entry["key"]: entry for entry in service["envVars"]}
        assert set(service) <= FIELDS - {"disk"}
        assert settings.keys() - platform <= {name.upper() for name in Settings.model_fields}
        assert settings["DATABASE_URL"]["fromDatabase"] == {
            "name": shown["databases"][0]["name"],
            "property": "connectionString",
        }
        assert service["buildCommand"].split("-r ")[1:] == [
            "requirements.txt ",
            "requirements-postgres.txt",
        ]
