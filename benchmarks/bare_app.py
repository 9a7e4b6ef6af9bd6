"""The floor of progress requests: a bare FastAPI route that tells the same document."""

from fastapi import FastAPI, Response

from models.api import Progress

ROWS = 20

app = FastAPI()
_example = Progress.model_validate(Progress.model_json_schema()["examples"][0])
_progress = _example.model_copy(update={"hospitals": _example.hospitals * ROWS})
_ready = _progress.model_dump_json()


@app.get("/health")
async def health() -> dict[str, str]:
    """Tell that it serves."""
    return {"status": "healthy"}


@app.get("/ready/{batch_id}")
async def ready(batch_id: str) -> Response:
    """Return the same, encoded once."""
    return Response(_ready, media_type="application/json")


@app.get("/hospitals/progress/{batch_id}")
async def progress(batch_id: str) -> Progress:
    """Return the same document each time."""
    return _progress
