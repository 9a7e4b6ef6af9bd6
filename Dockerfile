FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app

# Before the code, so that a change of the code does not install everything again.
COPY requirements.txt ./
RUN pip install -r requirements.txt

# The checkpoints' folder is made before VOLUME, so that a new volume belongs to the user too.
RUN useradd --system --uid 10001 --no-create-home app \
    && mkdir batch_storage \
    && chown app batch_storage

COPY main.py lifecycle.py config.py sample_hospitals.csv ./
COPY models/ models/
COPY services/ services/
COPY routers/ routers/
COPY directory/ directory/

USER app
VOLUME /app/batch_storage
EXPOSE 8000

# Not /health/ready: it looks at the directory, and so would keep it from sleeping for ever.
# Asked without a proxy, whatever the environment says.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:%s/health' % (os.environ.get('PORT') or 8000), timeout=4)"]

# `exec` puts the server in the shell's place, so that it is the one that hears SIGTERM.
# One process: it owns the folder of checkpoints.
CMD ["sh", "-c", "exec python -m uvicorn main:app --host 0.0.0.0 --port ${PORT:-8000}"]
