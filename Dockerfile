# The API and the harness in one image, without root.
#
#   docker build -t claas .                                                                          a CPU, 1.5 GB
#   docker build -t claas --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .           an NVIDIA GPU
#   docker build -t claas-openclaw --target openclaw .                                               with an OpenClaw gateway
#
#   docker run --rm -v claas:/home/claas/data claas eval 'preferences=[concise]' num_steps=20

FROM python:3.11-slim AS claas
ARG EXTRAS=local
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /opt/claas
COPY pyproject.toml constraints.txt LICENSE NOTICE ./
COPY docs ./docs
COPY claas ./claas
COPY configs ./configs
RUN pip install --extra-index-url "$TORCH_INDEX" -c constraints.txt ".[$EXTRAS]" \
    && useradd --uid 10001 --create-home claas \
    && install -d -o claas -g claas /home/claas/data
USER 10001
WORKDIR /home/claas
# Adapters, answers, feedback and runs: ./data, where the defaults of every command lie.
VOLUME /home/claas/data
EXPOSE 8080
# `claas doctor` says what is there. Without a key the API refuses to listen here: docker run -e CLAAS_API_KEY=...
ENTRYPOINT ["claas"]
CMD ["api", "host=0.0.0.0"]

FROM claas AS openclaw
USER 0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends nodejs npm \
    && rm -rf /var/lib/apt/lists/*
USER 10001
RUN claas openclaw --install-only --folder /home/claas/.openclaw
CMD ["openclaw", "--folder", "/home/claas/.openclaw"]

# What a plain `docker build .` makes.
FROM claas
