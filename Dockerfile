# The gateway's image. The first stage builds an environment from locked, hash-checked wheels;
# the second holds that environment and nothing that could build or install.

ARG PYTHON=python:3.11.13-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all:
WORKDIR /src

# Dependencies first: they change seldom, and the layer is kept until they do.
COPY deploy/image/gateway.lock deploy/image/build.lock deploy/image/
RUN python3 -m venv --without-pip /opt/headgate \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r deploy/image/build.lock \
 && /opt/build/bin/pip --python /opt/headgate/bin/python install --require-hashes \
      -r deploy/image/gateway.lock

# What .dockerignore lets through: the sources, of which the wheel is built here; or, in a folder that
# `headgate init` has written, the wheel that it has put there.
COPY . .
RUN if [ -f pyproject.toml ]; then \
      rm -f deploy/image/*.whl \
      && /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index -w deploy/image . ; \
    fi \
 && /opt/build/bin/pip --python /opt/headgate/bin/python install --no-deps --no-index \
      deploy/image/*.whl \
 && /opt/headgate/bin/python -m compileall -q /opt/headgate/lib

FROM ${PYTHON}
LABEL org.opencontainers.image.title="Headgate" \
      org.opencontainers.image.licenses="Apache-2.0"

# A fixed number, so that a volume's owner stays the same from image to image.
RUN groupadd --gid 10001 headgate \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/headgate \
      --shell /usr/sbin/nologin headgate \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/headgate
COPY --from=build /opt/headgate /opt/headgate

# PYTHONSAFEPATH keeps the current folder off the import path: a file called streams.py in a
# mounted folder must not stand in for ours.
ENV PATH=/opt/headgate/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
# Where headgate.toml is mounted: the commands find it there without being told.
WORKDIR /etc/headgate
VOLUME /var/lib/headgate
EXPOSE 8350

# Needs no token: without one the page says whether the gateway is well, and nothing else.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8350/healthz', timeout=4)"]

ENTRYPOINT ["headgate"]
CMD ["run"]
