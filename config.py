"""The service's settings, from the environment or `.env`. Nothing is computed here."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.caller import ApiKey, all_different, read_keys

Positive = Annotated[int, Field(ge=1, le=10**12)]
NotNegative = Annotated[int, Field(ge=0, le=10**12)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
SomeSeconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Hours = Annotated[float, Field(ge=0, le=87_600, allow_inf_nan=False)]


def _base_url(value: str) -> str:
    if not re.fullmatch(r"[!-\[\]-~]+", value):
        raise ValueError("it must not hold blanks, backslashes or other than ASCII characters")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must be http://host or https://host")
    _ = parts.port  # raises ValueError when it is not a number
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("it must not hold a query, a fragment or a password")
    return value.rstrip("/")


def _names(value: Any) -> Any:
    """Split a list that is written with commas."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _keys(value: Any) -> Any:
    return read_keys(value) if isinstance(value, str) else value


def _keys_of_file(value: Any) -> Any:
    if not isinstance(value, str | Path):
        return value
    try:
        return read_keys(Path(value).read_text())
    except OSError as error:
        raise ValueError(f"the file {value} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file {value} cannot be read: save it as UTF-8") from None


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", value):
        raise ValueError("each must be http://host or https://host, with its port if it has one")
    return value


def _host(value: str) -> str:
    if not re.fullmatch(r"(\*\.)?[A-Za-z0-9.\[\]:-]+", value):
        raise ValueError("each must be a host's name without a port; *.example.org has all below")
    return value


def _database_url(value: SecretStr | None) -> SecretStr | None:
    form = r"postgres(ql)?://([^\s@/?#]*@)?[^\s@?#]*(\?[^\s#]*)?"
    url = "" if value is None else value.get_secret_value()
    if value is not None and (not re.fullmatch(form, url) or re.search("%(?![0-9A-Fa-f]{2})", url)):
        raise ValueError(
            "it must be postgresql://user:password@host:port/database, where in a name or password "
            "% @ / : ? # and blanks are written as %25 %40 %2F %3A %3F %23 and %20"
        )
    return value


Keys = Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_keys)]
KeysOfFile = Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_keys_of_file)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_names)
]
Hosts = Annotated[
    tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(_names)
]


class Settings(BaseSettings):
    """Every setting, with its default; names in the environment are upper case."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    hospital_api_base_url: Annotated[str, AfterValidator(_base_url)] = (
        "https://hospital-directory.onrender.com"
    )
    directory_batch_limit: Positive = 20
    directory_capacity: Positive = 10_000
    max_csv_size: Annotated[int, Field(ge=1, le=100_000, validate_default=True)] = 20
    max_upload_bytes: Positive | None = None  # None: 1 MiB, more with a larger MAX_CSV_SIZE
    # One wave for a full file: 20 rows took 10.1 s with 10, 5.1 s with 20 (5 s creates, measured).
    max_concurrent_requests: Positive = 20
    http_timeout_seconds: SomeSeconds = 30.0  # the slowest warm answer seen took 7.5 s
    http_connect_timeout_seconds: SomeSeconds = 10.0
    create_rate_limit: NotNegative = 30
    lookup_rate_limit: NotNegative = 50
    rate_limit_period_seconds: SomeSeconds = 60.0
    rate_limit_margin_seconds: Seconds = 1.0  # for requests that travel at different speeds
    settle_seconds: Seconds = 15.0
    max_attempts: Positive = 4
    wake_timeout_seconds: SomeSeconds = 90.0  # a first answer after up to 60 s is reported
    batch_storage_dir: Path = Path("batch_storage")
    database_url: Annotated[SecretStr | None, AfterValidator(_database_url)] = None
    run_batches: bool = True
    worker_metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    auto_resume: bool = True
    progress_cleanup_hours: Hours = 24.0
    resumable_retention_hours: Hours = 168.0
    max_queued_batches: Positive = 200
    shutdown_grace_seconds: Seconds = 8.0  # within the 10 s that Docker gives
    api_keys: Keys = ()
    api_keys_file: KeysOfFile = ()
    metrics_open: bool = False
    max_batches_per_caller: Positive = 50
    max_requests_per_second: NotNegative = 100
    header_timeout_seconds: SomeSeconds = 10.0
    body_stall_seconds: SomeSeconds = 30.0
    body_timeout_seconds: SomeSeconds = 300.0
    cors_origins: Origins = ()
    trusted_hosts: Hosts = ()
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)
    ] = "INFO"
    log_format: Annotated[Literal["console", "json"], BeforeValidator(str.lower)] = "console"
    app_name: str = "Hospital Bulk Processing API"
    app_version: str = "1.0.0"

    @field_validator("max_csv_size")
    @classmethod
    def _fits_the_directory(cls, rows: int, info: ValidationInfo) -> int:
        capacity = info.data.get("directory_capacity", rows)
        if rows > capacity:
            raise ValueError(
                f"the directory keeps {capacity} rows (DIRECTORY_CAPACITY), so that a file may not "
                f"have {rows}; change one of the two"
            )
        return rows

    @field_validator("run_batches")
    @classmethod
    def _somebody_runs_them(cls, run_batches: bool, info: ValidationInfo) -> bool:
        if not run_batches and info.data.get("database_url") is None:
            raise ValueError("without DATABASE_URL no other process can run them")
        return run_batches

    @field_validator("api_keys_file")
    @classmethod
    def _each_secret_is_one_key(
        cls, keys: tuple[ApiKey, ...], info: ValidationInfo
    ) -> tuple[ApiKey, ...]:
        all_different(keys + info.data.get("api_keys", ()))
        return keys

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys of both settings; none: anybody may call."""
        return self.api_keys + self.api_keys_file


class BadSetting(Exception):
    """A setting that cannot be right; the message names it in one line."""


def _check_env_file() -> None:
    """Raise BadSetting if a line of `.env` is no setting.

    It would be left out with all that it swallows: a quote that is never closed could leave the
    service without its keys, open to anybody.
    """
    try:
        with open(".env", encoding="utf-8-sig") as file:
            wrong = [part.original for part in parse_stream(file) if part.error]
    except OSError:
        return
    if wrong:
        raise BadSetting(
            f"the file .env cannot be right: line {wrong[0].line} is not NAME=value, or a quote in "
            "it is not closed."
        )


def load_settings() -> Settings:
    """Return the settings; BadSetting if one cannot be right."""
    try:
        _check_env_file()
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise BadSetting(f"{name} cannot be right: {reason}.") from None
    except UnicodeDecodeError:
        raise BadSetting("the file .env cannot be read: save it as UTF-8.") from None
