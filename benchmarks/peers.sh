#!/usr/bin/env bash
# MediaPipe Pose (full), to compare with this book's model:
#   benchmarks/peers.sh clips [OUT.json]                    time on the clips of benchmarks/live.py
#   benchmarks/peers.sh photos [--model NAME] [--record]    accuracy on the validation photos
# MediaPipe wants an older protobuf and numpy than this project, so it gets .venv-peers (1 GB, a
# minute the first time). Its model is in its wheel. PEERS_VENV names another folder for it, PY
# another Python of this project.
set -euo pipefail
usage() {
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
}
what="${1:-}"
[ "$what" = clips ] || [ "$what" = photos ] || usage
shift
out="${1:--}"
[ "$out" = - ] || [ "$what" = photos ] || out="$(realpath "$out")"
cd "$(dirname "$0")/.."
venv="${PEERS_VENV:-.venv-peers}"
py="${PY:-.venv/bin/python}"

if [ ! -x "$venv/bin/python" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --disable-pip-version-check --quiet mediapipe==0.10.14 "numpy<2" >&2
fi
export GLOG_minloglevel=3 TF_CPP_MIN_LOG_LEVEL=3

if [ "$what" = clips ]; then
    "$venv/bin/python" benchmarks/peers/mediapipe_pose.py clips "$out"
else
    work="$(mktemp -d)" # photos of private people: gone when this ends
    trap 'rm -rf "$work"' EXIT
    "$py" book/experiments/peers.py photos "$work" "$@" >&2
    "$venv/bin/python" benchmarks/peers/mediapipe_pose.py photos "$work"
    "$py" book/experiments/peers.py score "$work" "$@"
fi
