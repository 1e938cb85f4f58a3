# A node of Spawn: `spawn run TARGET` on given servers.
#
#   docker build --tag spawn .
#   docker run --publish 127.0.0.1:9001:9001 --volume ./counter.py:/app/counter.py:ro \
#     --env-file node.env spawn run counter.py
#
# A project of your own begins with `FROM spawn` and copies its actors to /app. The images of
# python: are built with profile-guided optimisation, which matters: without it a commit needs 1.25
# times the CPU time. No digest is given, since none was checked; for production pin it:
# python:3.13-slim@sha256:... of `docker buildx imagetools inspect python:3.13-slim`.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY .ci/node-requirements .ci/node-requirements
# What runs, by hash and without a compiler; what builds the wheel stays in this stage.
RUN python .ci/node-requirements speed > node.lock
RUN python .ci/node-requirements --build > build.lock
RUN python -m venv /opt/spawn
RUN /opt/spawn/bin/python -m pip install --require-hashes --only-binary :all: --no-deps \
  --requirement node.lock
RUN python -m pip install --require-hashes --only-binary :all: --no-deps \
  --requirement build.lock
COPY schemas schemas
COPY eventstore eventstore
COPY spawn spawn
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist .
RUN /opt/spawn/bin/python -m pip install --no-deps --no-index dist/*.whl \
  && /opt/spawn/bin/python -m pip uninstall --yes pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin spawn
COPY --from=build /opt/spawn /opt/spawn
ENV PATH=/opt/spawn/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001:10001
EXPOSE 9001
# Asks nothing of log and database: a node that waits for them is not to be killed.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", \
  "import urllib.request as r; r.urlopen('http://127.0.0.1:9001/health/live', timeout=2)"]
# First in its container, it gets SIGTERM itself and ends in order.
ENTRYPOINT ["spawn"]
CMD ["--help"]
