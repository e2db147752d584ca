# One image for every part of the service; what it does is its command. No secret is baked in: they come as files.

FROM python:3.12-slim-bookworm AS build
# PyTorch's index of CPU builds makes a small image; without it the registry's build comes, with CUDA.
ARG TORCH_INDEX=""
WORKDIR /src
RUN python -m venv /opt/modelpress
ENV PATH=/opt/modelpress/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt ./
RUN PIP_EXTRA_INDEX_URL="$TORCH_INDEX" pip install -c constraints.txt torch
COPY pyproject.toml ./
COPY sdk sdk
COPY core core
COPY store store
COPY api api
COPY worker worker
COPY server server
COPY migrations migrations
COPY recipes recipes
RUN pip install -c constraints.txt ./sdk .

FROM python:3.12-slim-bookworm
RUN groupadd --system --gid 10001 modelpress \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/modelpress --shell /usr/sbin/nologin modelpress \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/modelpress
COPY --from=build /opt/modelpress /opt/modelpress
ENV PATH=/opt/modelpress/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MODELPRESS_DATA_DIR=/var/lib/modelpress
USER 10001:10001
WORKDIR /var/lib/modelpress
EXPOSE 8000
ENTRYPOINT ["modelpress-server"]
CMD ["--help"]
