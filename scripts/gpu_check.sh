#!/bin/sh
# Check and measure the ops on a machine with one GPU, in one go; all that is said goes to a log as well.
#
#   sh scripts/gpu_check.sh                # in an environment where hdx, pytest and nvcc are on the path
#
# RESULTS (default: scripts/bench/results) is where gpu_<name of the GPU>.log goes. Everything runs even if something fails;
# the exit code is 0 only where nothing did. Takes about ten minutes.
set -u
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-python}
name=$("$python" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "")') || exit 2
if [ -z "$name" ]; then
    echo "gpu_check: torch finds no CUDA device here; without one run: pytest tests/unit/ops/test_cuda_build.py" >&2
    exit 2
fi
results=${RESULTS:-scripts/bench/results}
label=gpu_$(echo "$name" | tr '[:upper:] ' '[:lower:]_' | tr -cd 'a-z0-9_-')
mkdir -p "$results"
log=$results/$label.log
failures=$(mktemp)
trap 'rm -f "$failures"' EXIT

step() {
    echo
    echo "\$ $*"
    "$@" 2>&1 || echo "$*" >> "$failures"
}

{
    echo "hdx $(git rev-parse --short HEAD 2>/dev/null || echo '(no git)') on $name, $(date -u +%Y-%m-%d)"
    step nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit --format=csv
    step "$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda, torch.cuda.get_device_capability())'
    step nvcc --version
    step hdx ops build
    step hdx ops build --cuda
    step hdx ops doctor
    step "$python" -m pytest -m gpu tests/unit/ops
    step hdx ops bench --cuda --csv "$results/$label.csv"
    step "$python" scripts/bench/activations.py
    if [ -s "$failures" ]; then
        echo
        echo "failed:"
        cat "$failures"
    else
        echo
        echo "all done"
    fi
} 2>&1 | tee "$log"
[ ! -s "$failures" ]
