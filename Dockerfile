# CPU:   docker build -t albef_jax .
# CUDA:  docker build -t albef_jax --build-arg EXTRAS=dev,gpu .
# TPU:   docker build -t albef_jax --build-arg EXTRAS=dev,tpu .
#
# docker run --rm albef_jax                                  runs `make demo`
# docker run --rm --gpus=all -v "$PWD/runs:/albef_jax/runs" albef_jax \
#     python -m albef_jax.main --config configs/pretrain.py --workdir runs/demo

ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

FROM base
ARG EXTRAS=dev
WORKDIR /albef_jax
COPY . .
RUN make EXTRAS="$EXTRAS" .venv/bin/installed
ENV PATH=/albef_jax/.venv/bin:$PATH
CMD ["make", "demo"]
