#!/bin/sh
# Checks the engine on a CUDA device and measures it: the tests that need one, then `jobs/bench.py gpu`.
#
#   sh jobs/gpu_check.sh [flags of bench.py gpu, such as --model Qwen3-4B --profile]
#
# Neither Ray nor MLflow is needed, nor any download: weights are random. These packages are: torch, transformers,
# tokenizers, accelerate, numpy, safetensors, jinja2, pyyaml, rich, jsonargparse, pytest. PYTHON names another
# interpreter. The last line on stdout is the benchmark's JSON; the exit code is not 0 if a test or the benchmark failed.
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-python3}
PYTHONPATH=$PWD:$PWD/tests${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
failed=0
"$PYTHON" -m pytest -p no:cacheprovider -m gpu tests/engine/test_on_gpu.py >&2 || failed=1
"$PYTHON" jobs/bench.py gpu "$@" || failed=1
exit "$failed"
