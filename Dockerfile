# What the service runs on is installed here; of this stage nothing but the environment is kept.
FROM python:3.11-slim AS build

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /build
COPY requirements.txt requirements-postgres.txt ./
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: \
        -r requirements.txt -r requirements-postgres.txt


FROM python:3.11-slim

# FORWARDED_ALLOW_IPS: whose X-Forwarded-For is believed; nobody's unless it is set.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FORWARDED_ALLOW_IPS=""

WORKDIR /app

# The checkpoints' folder is made before VOLUME, so that a new volume belongs to the user too.
RUN groupadd --system --gid 10001 app \
    && useradd --system --uid 10001 --gid app --no-create-home app \
    && install --directory --owner app --group app batch_storage

# Before the code, so that a change of the code does not copy everything again.
COPY --from=build /opt/venv /opt/venv
COPY main.py worker.py database.py connections.py lifecycle.py config.py ./
COPY wiring/ wiring/
COPY models/ models/
COPY services/ services/
COPY routers/ routers/
COPY directory/ directory/

USER 10001:10001
VOLUME /app/batch_storage
EXPOSE 8000

# Not /health/ready: it looks at the directory, and so would keep it from sleeping for ever.
# Asked without a proxy, whatever the environment says.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:%s/health' % (os.environ.get('PORT') or 8000), timeout=4)"]

# `exec` puts the server in the shell's place, so that it is the one that hears SIGTERM.
# One process: it owns the folder of checkpoints.
CMD ["sh", "-c", "exec python -m uvicorn main:app --host 0.0.0.0 --port ${PORT:-8000}"]
