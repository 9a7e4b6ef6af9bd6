"""The service with one address more, behind which something unforeseen happens."""

from main import app


@app.get("/unforeseen")
async def unforeseen() -> None:
    """Fail in a way that nobody foresaw."""
    raise RuntimeError("unforeseen\n2026-01-01T00:00:00.000000Z [info     ] forged")
