# The image of every role: extender, and later admission, API and workloads. Everything installed is pinned by hash.

# The wheel is built apart, because building needs tools that running does not.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements/dev.lock requirements/dev.lock
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/dev.lock
COPY pyproject.toml README.md LICENSE ./
COPY extender extender
RUN pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir /dist .

FROM python:3.11-slim
COPY requirements/runtime.lock /tmp/runtime.lock
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/runtime.lock \
    && rm /tmp/runtime.lock
COPY --from=build /dist /tmp/dist
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps /tmp/dist/*.whl \
    && rm -r /tmp/dist
# The root file system is read-only in the cluster; logs go to stderr as they happen.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The number and not a name: Kubernetes can check runAsNonRoot only for a number. deploy/ uses the same one.
USER 65532:65532
ENTRYPOINT ["runai-scheduler"]
