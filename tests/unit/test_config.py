"""Settings: their defaults, where they come from, and the one line that refuses a bad one."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from config import BadSetting, Settings, load_settings


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from outside: neither the environment's nor a `.env` file's."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults():
    expected = {
        "hospital_api_base_url": "https://hospital-directory.onrender.com",
        "max_csv_size": 20,
        "max_upload_bytes": None,
        "max_concurrent_requests": 20,
        "http_timeout_seconds": 30.0,
        "http_connect_timeout_seconds": 10.0,
        "create_rate_limit": 30,
        "lookup_rate_limit": 50,
        "rate_limit_period_seconds": 60.0,
        "rate_limit_margin_seconds": 1.0,
        "directory_batch_limit": 20,
        "directory_capacity": 10_000,
        "settle_seconds": 15.0,
        "max_attempts": 4,
        "wake_timeout_seconds": 90.0,
        "batch_storage_dir": Path("batch_storage"),
        "auto_resume": True,
        "progress_cleanup_hours": 24.0,
        "resumable_retention_hours": 168.0,
        "log_level": "INFO",
        "max_queued_batches": 200,
        "shutdown_grace_seconds": 8.0,
    }
    settings = load_settings().model_dump()

    assert expected == {name: settings.get(name) for name in expected}


def test_a_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SETTLE_SECONDS", "2.5")
    monkeypatch.setenv("AUTO_RESUME", "false")
    monkeypatch.setenv("BATCH_STORAGE_DIR", "/var/lib/bulk")

    settings = load_settings()

    expected = (2.5, False, Path("/var/lib/bulk"))
    assert expected == (settings.settle_seconds, settings.auto_resume, settings.batch_storage_dir)


def test_a_setting_comes_from_the_env_file_unless_the_environment_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".env").write_text("MAX_ATTEMPTS=2\nMAX_CSV_SIZE=50\nOTHER_PROGRAMS=1\n")
    monkeypatch.setenv("MAX_CSV_SIZE", "100")

    settings = load_settings()

    expected = (2, 100)
    assert expected == (settings.max_attempts, settings.max_csv_size)


@pytest.mark.parametrize(
    ("rows", "capacity", "told"),
    [
        ("10001", None, "MAX_CSV_SIZE cannot be right: the directory keeps 10000 rows"),
        ("100000", "99999", "MAX_CSV_SIZE cannot be right: the directory keeps 99999 rows"),
        (None, "19", "MAX_CSV_SIZE cannot be right: the directory keeps 19 rows"),
        ("100001", "1000000", "MAX_CSV_SIZE cannot be right"),
    ],
)
def test_a_file_may_not_have_more_rows_than_the_directory_keeps(
    monkeypatch: pytest.MonkeyPatch, rows: str | None, capacity: str | None, told: str
):
    for name, value in (("MAX_CSV_SIZE", rows), ("DIRECTORY_CAPACITY", capacity)):
        if value is not None:
            monkeypatch.setenv(name, value)

    with pytest.raises(BadSetting, match=told):
        load_settings()


def test_a_file_may_fill_the_directory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAX_CSV_SIZE", "100000")
    monkeypatch.setenv("DIRECTORY_CAPACITY", "100000")

    assert load_settings().max_csv_size == 100_000


def test_an_empty_setting_is_its_default(monkeypatch: pytest.MonkeyPatch):
    """Compose files pass `${MAX_CSV_SIZE:-}` on."""
    monkeypatch.setenv("MAX_CSV_SIZE", "")
    monkeypatch.setenv("BATCH_STORAGE_DIR", "")

    assert Settings.model_construct() == load_settings()


def test_settings_do_not_change():
    settings = load_settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.max_csv_size = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "used"),
    [
        ("http://localhost:9000/", "http://localhost:9000"),
        ("https://example.org/directory/v1/", "https://example.org/directory/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://10.0.0.1", "http://10.0.0.1"),
    ],
)
def test_the_directorys_url_is_used_without_its_last_slash(
    monkeypatch: pytest.MonkeyPatch, url: str, used: str
):
    monkeypatch.setenv("HOSPITAL_API_BASE_URL", url)

    assert used == load_settings().hospital_api_base_url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("create_rate_limit", 0),  # no pacing
        ("lookup_rate_limit", 0),
        ("rate_limit_margin_seconds", 0.0),
        ("settle_seconds", 0.0),
        ("shutdown_grace_seconds", 0.0),
        ("progress_cleanup_hours", 0.0),
        ("resumable_retention_hours", 0.0),
        ("max_csv_size", 1),
        ("max_attempts", 1),
        ("max_concurrent_requests", 1),
        ("max_upload_bytes", 1),
        ("settle_seconds", 86_400.0),
        ("log_level", "DEBUG"),
    ],
)
def test_the_ends_of_a_range_are_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float | str
):
    monkeypatch.setenv(name.upper(), str(value))

    assert value == getattr(load_settings(), name)


def refusal_of(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting) as refusal:
        load_settings()
    return str(refusal.value)


COUNTS_FROM_1 = (
    "MAX_CSV_SIZE",
    "MAX_UPLOAD_BYTES",
    "MAX_CONCURRENT_REQUESTS",
    "DIRECTORY_BATCH_LIMIT",
    "DIRECTORY_CAPACITY",
    "MAX_ATTEMPTS",
    "MAX_QUEUED_BATCHES",
)
COUNTS_FROM_0 = ("CREATE_RATE_LIMIT", "LOOKUP_RATE_LIMIT")
SECONDS_ABOVE_0 = (
    "HTTP_TIMEOUT_SECONDS",
    "HTTP_CONNECT_TIMEOUT_SECONDS",
    "RATE_LIMIT_PERIOD_SECONDS",
    "WAKE_TIMEOUT_SECONDS",
)
SECONDS_FROM_0 = ("RATE_LIMIT_MARGIN_SECONDS", "SETTLE_SECONDS", "SHUTDOWN_GRACE_SECONDS")
HOURS = ("PROGRESS_CLEANUP_HOURS",)
NOT_COUNTS = ("-1", "many", "1.5", "1e", "nan", "true", "1 2")
NOT_TIMES = ("-0.1", "soon", "nan", "inf", "-inf", "10s", "1e9")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in COUNTS_FROM_1 for value in ("0", *NOT_COUNTS)),
        *((name, value) for name in COUNTS_FROM_0 for value in NOT_COUNTS),
        *((name, value) for name in SECONDS_ABOVE_0 for value in ("0", *NOT_TIMES)),
        *((name, value) for name in (*SECONDS_FROM_0, *HOURS) for value in NOT_TIMES),
        ("AUTO_RESUME", "perhaps"),
        ("LOG_LEVEL", "LOUD"),
        ("HOSPITAL_API_BASE_URL", "example.org"),
        ("HOSPITAL_API_BASE_URL", "//example.org"),
        ("HOSPITAL_API_BASE_URL", "ftp://example.org"),
        ("HOSPITAL_API_BASE_URL", "http://"),
        ("HOSPITAL_API_BASE_URL", "http:///hospitals"),
        ("HOSPITAL_API_BASE_URL", "http://:8000"),
        ("HOSPITAL_API_BASE_URL", "http://example.org:port"),
        ("HOSPITAL_API_BASE_URL", "http://example.org:99999"),
        ("HOSPITAL_API_BASE_URL", "http://[::1"),
        ("HOSPITAL_API_BASE_URL", "http://example.org/?batch=1"),
        ("HOSPITAL_API_BASE_URL", "http://example.org/#top"),
        ("HOSPITAL_API_BASE_URL", "http://user@example.org"),
        ("HOSPITAL_API_BASE_URL", "http://user:secret@example.org"),
    ],
)
def test_a_setting_that_cannot_be_right_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    refusal = refusal_of(name, value, monkeypatch)

    assert refusal.startswith(f"{name} cannot be right: ")
    assert "\n" not in refusal
    assert "secret" not in refusal


@pytest.mark.parametrize(
    "url",
    [
        " http://example.org",
        "http://example.org ",
        "http://exam ple.org",
        "http://example.org\n",
        "http://example.org\\hospitals",
    ],
)
def test_a_url_with_blanks_is_refused_instead_of_making_every_request_fail(
    monkeypatch: pytest.MonkeyPatch, url: str
):
    refusal = refusal_of("HOSPITAL_API_BASE_URL", url, monkeypatch)

    assert refusal.startswith("HOSPITAL_API_BASE_URL cannot be right: ")


def test_an_env_file_in_another_encoding_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / ".env").write_bytes("APP_NAME=Köln\n".encode("latin-1"))

    with pytest.raises(BadSetting, match=r"\.env"):
        load_settings()


@pytest.mark.parametrize(
    "text",
    [
        'API_KEYS="north:0123456789abcdef\n',
        "API_KEYS: north:0123456789abcdef\n",
        "set API_KEYS=north:0123456789abcdef\n",
        'APP_NAME="x\nAPI_KEYS="north:0123456789abcdef"\n',
    ],
)
def test_a_line_that_is_no_setting_stops_the_start(tmp_path: Path, text: str):
    """
    Left out, it would leave the service without its keys.
    """
    (tmp_path / ".env").write_text("# the keys\n" + text)

    with pytest.raises(
        BadSetting, match=r"^the file \.env cannot be right: line \d+ is"
    ) as refused:
        load_settings()

    assert "0123456789" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n",
        "\ufeffMAX_ATTEMPTS=2\r\n",
        'export APP_NAME="a # b"  # c\n',
        "APP_NAME='two\nlines'\n",
        "SOMETHING_ELSE\n",
    ],
)
def test_what_such_files_may_hold_is_read(tmp_path: Path, text: str):
    (tmp_path / ".env").write_text(text, newline="")

    assert load_settings()


@pytest.mark.parametrize(
    ("name", "value"), [("CORS_ORIGINS", "desk.example.org"), ("TRUSTED_HOSTS", "a,http://b")]
)
def test_a_list_with_a_wrong_part_is_called_by_its_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSetting, match=f"^{name} cannot be right: each must be"):
        load_settings()


@pytest.mark.parametrize("secret", ["s3c%ret", "s3c ret", "s3c@ret", "s3c#ret"])
def test_a_database_url_that_cannot_be_read_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secret: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://user:{secret}@127.0.0.1/hospitals")

    with pytest.raises(BadSetting, match="DATABASE_URL") as refused:
        load_settings()

    assert "ret" not in str(refused.value).replace("written", "")
