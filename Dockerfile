# Build:  docker build -t banter .                                   (CPU)
#         docker build -t banter --build-arg TORCH=cu128 .           (NVIDIA GPUs)
# Run:    docker compose up
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/banter
ENV PATH=/opt/banter/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# torch first and from its own index: the layer is large and changes least.
RUN pip install --index-url https://download.pytorch.org/whl/${TORCH} torch==2.13.0
COPY bot bot
COPY adapters adapters
COPY storage storage
COPY moderation moderation
RUN pip install --constraint constraints.txt '.[postgres]'

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="Banter" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --create-home --home-dir /home/banter banter \
    && mkdir -p /app/data && chown -R banter:banter /app
COPY --from=build /opt/banter /opt/banter
COPY --chown=banter:banter config.yaml /app/config.yaml
ENV PATH=/opt/banter/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER banter
VOLUME /app/data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["banter", "health"]
ENTRYPOINT ["banter"]
CMD ["run"]
