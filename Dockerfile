# One image for every command: `serve` (the default), `migrate`, `project run`, `doctor` and the rest.
# Built in two stages, so that what runs has neither pip nor a compiler; everything comes from deploy/requirements.lock.
FROM python:3.13-slim-trixie AS build
WORKDIR /build
RUN python -m venv /opt/onrecord
COPY deploy/requirements.lock deploy/
RUN /opt/onrecord/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes --requirement deploy/requirements.lock
COPY pyproject.toml README.md ./
COPY service service
COPY projections projections
COPY migrations migrations
RUN /opt/onrecord/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
    && /opt/onrecord/bin/python -m compileall -q /opt/onrecord/lib \
    && /opt/onrecord/bin/pip uninstall --yes --quiet pip

FROM python:3.13-slim-trixie
COPY --from=build /opt/onrecord /opt/onrecord
# A number, so that Kubernetes can see that it is not root. It owns nothing: the image is never written to.
USER 10001:10001
WORKDIR /
ENV PATH=/opt/onrecord/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# Inside a container every address is the container's own; what is published is for whoever runs it to say.
ENV ONRECORD_HOST=0.0.0.0 ONRECORD_PORT=8000
EXPOSE 8000 9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['ONRECORD_PORT'] + '/healthz', timeout=2)"]
ENTRYPOINT ["onrecord"]
CMD ["serve"]
