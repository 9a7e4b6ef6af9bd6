"""The image without Docker: its files, its user and its commands, with the packages from here."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from scripts.processes import Server, free_port
from tests import deployment
from tests.e2e.conftest import http, wait_until
from tests.harness import csv_file

ROOT = deployment.ROOT


class Container:
    """An empty folder with what the image has in it, in which commands are run as its user.

    Root becomes that user, who may read everything (the interpreter may be in root's home), but
    writes only what is his: the storage and the folder of temporary files. Anybody else stays who
    he is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "app"
        self.temporary = folder / "tmp"
        for made in (self.folder, self.temporary):
            made.mkdir()
        deployment.build(self.folder)
        self.uid = os.geteuid()
        self._as_user: list[str] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        if self.uid == 0 and (setpriv := shutil.which("setpriv")):
            self.uid = deployment.user()
            may = "-all,+dac_read_search"
            self._as_user = [setpriv, f"--reuid={self.uid}", f"--regid={self.uid}"]
            self._as_user += ["--clear-groups", "--no-new-privs"]
            self._as_user += [f"--inh-caps={may}", f"--ambient-caps={may}", "--"]
            for writable in (self.folder / "batch_storage", self.temporary):
                os.chown(writable, self.uid, self.uid)

    def start(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        """Run *command* in the folder, with nothing of this environment but the packages."""
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        clean = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(self.temporary)}
        process = subprocess.Popen(
            [*self._as_user, *(part.replace("0.0.0.0", "127.0.0.1") for part in command)],
            cwd=self.folder,
            env=clean | environment,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def succeeds(self, command: list[str], **environment: str) -> bool:
        """Return whether *command* ends well."""
        return self.start(command, **environment).wait(20) == 0

    def files(self) -> set[str]:
        """Return all that is in the image's folder, without the storage."""
        names = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}
        return {name for name in names if not name.startswith("batch_storage")}

    def end(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also what a shell has started
            process.wait()


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    container = Container(tmp_path)
    yield container
    container.end()


def test_the_image_serves_from_the_files_that_are_copied_as_its_user(
    container: Container, instant_directory: Server
):
    before = container.files()
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"

    process = container.start(
        deployment.command(), PORT=port, HOSPITAL_API_BASE_URL=instant_directory.url
    )
    wait_until(lambda: container.succeeds(deployment.health_check(), PORT=port))

    loaded = http.post(f"{url}/hospitals/bulk", files={"file": ("a.csv", csv_file(3))})
    assert loaded.json()["status"] == "completed"
    for page in ("/", "/dashboard", "/docs", "/redoc", "/openapi.json", "/health/ready"):
        assert http.get(url + page).is_success, page
    checkpoints = list((container.folder / "batch_storage").glob("*.json"))
    assert [path.stem for path in checkpoints] == [loaded.json()["batch_id"]]
    assert checkpoints[0].stat().st_uid == container.uid
    assert container.files() == before
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM  # uvicorn ends so once it has shut down
    with pytest.raises(httpx.ConnectError):  # no shell stood between
        http.get(url)


def test_a_service_that_is_not_there_is_not_healthy(container: Container):
    assert not container.succeeds(deployment.health_check(), PORT=str(free_port()))


def test_the_directory_of_the_compose_file_runs_in_the_image_and_is_healthy(container: Container):
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["directory"]
    port = str(free_port())
    [kind, *health_check] = [part.replace("9000", port) for part in service["healthcheck"]["test"]]
    assert kind == "CMD"
    assert not container.succeeds(health_check)

    container.start([part.replace("9000", port) for part in service["command"]])

    wait_until(lambda: container.succeeds(health_check))
