"""Prepares the database of DATABASE_URL: `python -m database migrate`, `python -m database import`.

`migrate` makes or updates its tables; run it again after every update of the service. `import`
takes over what a service without a database left in a folder.
"""

import argparse
import sys
from pathlib import Path

from config import BadSetting, load_settings
from services.logs import configure
from services.storage.contract import AlreadyUploaded, StorageError, StorageTaken
from services.storage.json_files import JsonFiles

IMPORTED_SUFFIX = ".imported"


class Failed(Exception):
    """It could not be done; the message says what to do."""


def migrate(url: str) -> str:
    """Bring the schema up to date; return what was done."""
    from services.storage.schema import SchemaMismatch, migrate

    try:
        applied = migrate(url)
    except SchemaMismatch as mismatch:
        raise Failed(str(mismatch)) from None
    return f"Migrations applied: {len(applied)}." if applied else "The database is up to date."


def import_folder(url: str, folder: Path, directory_url: str) -> str:
    """Store every batch of a folder that no service uses, once; return what was done.

    Each document gets another name when its batch is stored, so that no service goes on with it as
    well. What fails or is interrupted half-way is finished by the same command.
    """
    from services.storage.database import Database
    from services.storage.postgres import PostgresBatches
    from services.storage.schema import SchemaMismatch, check_schema

    if not folder.is_dir():
        raise Failed(f"There is no folder {folder}.")
    files, database = JsonFiles(folder), Database(url)
    try:
        check_schema(url)
        files.open()
        database.open()
        storage = PostgresBatches(database, directory_url)
        batches = files.load()
        for batch in batches:
            storage.bring(batch)
            _set_aside(folder, str(batch.id))
    except SchemaMismatch as mismatch:
        raise Failed(str(mismatch)) from None
    except StorageTaken:
        raise Failed(f"A service uses {folder}: stop it first.") from None
    except AlreadyUploaded:
        raise Failed(
            f"Batch {batch.id}: the database has another of its Idempotency-Key."
        ) from None
    except StorageError as error:
        raise Failed(f"{error}. Run the command again.") from None
    finally:
        files.close()
        database.close()
    others = sum(batch.directory_url != directory_url for batch in batches)
    of_others = f", {others} of them of another directory (HOSPITAL_API_BASE_URL)" if others else ""
    return f"Batches imported: {len(batches)}{of_others}."


def _set_aside(folder: Path, batch_id: str) -> None:
    for path in sorted(folder.glob(f"{batch_id}.*json*")):
        if not path.name.endswith(IMPORTED_SUFFIX):
            path.rename(path.with_name(path.name + IMPORTED_SUFFIX))


def main() -> None:
    """Do what the command line asks for; what fails says why in one sentence."""
    parser = argparse.ArgumentParser(prog="python -m database", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="make or update the tables")
    importing = commands.add_parser("import", help="take over the batches of a folder")
    importing.add_argument("folder", nargs="?", type=Path, help="default: BATCH_STORAGE_DIR")
    asked = parser.parse_args()
    try:
        settings = load_settings()
        if settings.database_url is None:
            raise Failed("Set DATABASE_URL: postgresql://user:password@host:port/database.")
        configure(settings.log_level, settings.log_format)  # documents are set aside with a line
        url = settings.database_url.get_secret_value()
        if asked.command == "migrate":
            print(migrate(url))
        else:
            folder = asked.folder or settings.batch_storage_dir
            print(import_folder(url, folder, settings.hospital_api_base_url))
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing.name} is not installed: pip install -r requirements-postgres.txt.")
    except (BadSetting, Failed) as error:
        sys.exit(f"Not done: {error}")


if __name__ == "__main__":
    main()
