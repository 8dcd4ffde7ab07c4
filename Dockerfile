# One image for every part: `ghasi serve NAME`, `ghasi work NAME`, `ghasi migrate`, `ghasi kong sync`.
# It runs as nobody in particular, writes to /tmp and nowhere else, and needs no data folder where PostgreSQL is elsewhere.

FROM node:24-bookworm-slim AS assets
WORKDIR /build/ghasi/portal/assets
COPY ghasi/portal/assets/package.json ghasi/portal/assets/package-lock.json ./
RUN npm ci --ignore-scripts --include=dev
COPY ghasi/portal /build/ghasi/portal
RUN node build.mjs

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY ghasi ghasi
COPY --from=assets /build/ghasi/portal/static ghasi/portal/static
RUN python -m venv /opt/ghasi && /opt/ghasi/bin/pip install --no-cache-dir .

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Ghasi" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin ghasi
COPY --from=wheel /opt/ghasi /opt/ghasi
ENV PATH=/opt/ghasi/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GHASI_DATA_DIR=/tmp/ghasi-data HEALTH_PORT=8000
WORKDIR /tmp
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"HEALTH_PORT\"]}/healthz', timeout=2)"]
ENTRYPOINT ["ghasi"]
CMD ["--help"]
