# The checkout's layout is kept in /app: `postbacks migrate` reads alembic.ini and migrations/ beside src/.

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN python -m venv .venv
COPY requirements.lock ./
# In a layer of its own: it is built anew only when a dependency changes.
RUN .venv/bin/pip install --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY migrations migrations
COPY src src
RUN .venv/bin/pip install --no-deps --no-build-isolation --editable . \
 && .venv/bin/python -m compileall -q src migrations

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/postbacks --create-home --shell /usr/sbin/nologin postbacks
COPY --from=build /app /app
# Not /app: Postbacks reads a .env from the directory that it is started in, and the code stays read-only.
WORKDIR /var/lib/postbacks
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    POSTBACKS_HOST=0.0.0.0 \
    POSTBACKS_PORT=8000 \
    POSTBACKS_DATA_DIR=/var/lib/postbacks
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# By http.client, which takes no notice of proxy variables. `postbacks dispatch` listens on no port: switch it off there.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['POSTBACKS_PORT']), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["postbacks"]
CMD ["api"]
