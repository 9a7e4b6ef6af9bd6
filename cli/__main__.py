"""The terminal client: `python -m cli --help`. It knows the service by its HTTP contract alone."""

import os
import sys

from cli import interruption

EXTRA = {"httpx", "httpx_sse", "rich", "typer"}  # what requirements-cli.txt brings
WRONG_USAGE = 2


def main() -> int:
    """Run the command that was typed; return the exit status."""
    interruption.listen()
    try:
        from cli.commands import app

        app()
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        sys.stderr.write(
            f"The terminal client needs {error.name}, which is not installed: "
            "pip install -r requirements-cli.txt\n"
        )
        return WRONG_USAGE
    except interruption.Interrupted as interrupted:
        _drop_unwritten_output()
        return interrupted.exit_status
    return 0


def _drop_unwritten_output() -> None:
    """Have the interpreter flush what is left to nowhere: whoever read it may have gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
