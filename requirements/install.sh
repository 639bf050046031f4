#!/usr/bin/env bash
# Installs Hindcast and its locked requirements into a virtual environment, and Horovod against the TensorFlow in it.
#   requirements/install.sh [VENV [runtime]]    what `make demo` and docker/Dockerfile run; VENV defaults to .venv
#   requirements/install.sh VENV dev            the same, and what the tests and benchmarks need
#   requirements/install.sh VENV gpu            with a TensorFlow for NVIDIA's GPUs and its CUDA; needs their driver, and nothing more
# Safe to repeat: it goes on where an interrupted run stopped. What is missing is named in one line, with what to install.
# The Debian packages that it needs are in requirements/debian-build.txt, those that the environment runs on in debian-run.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(realpath -m -- "${1:-.venv}") profile=${2:-runtime}

say() { printf 'hindcast: %s\n' "$*"; }
stop() { say "$*" >&2; exit 1; }

# MiB that the environment takes, and that its wheels take while they are unpacked; the other TensorFlow goes before this one comes.
case $profile in
  runtime) lock=requirements/runtime.txt other=tensorflow needed_mib=3500 unpacked_mib=1500 ;;
  dev) lock=requirements/runtime.txt other=tensorflow needed_mib=4500 unpacked_mib=1500 ;;
  gpu) lock=requirements/gpu.txt other=tensorflow-cpu needed_mib=7000 unpacked_mib=3000 ;;
  *) stop "no profile '$profile': it is runtime, dev or gpu, as in requirements/install.sh .venv gpu" ;;
esac

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$candidate"; return
    fi
  done
  return 1
}

must_be_free() {
  local folder=$1 mib=$2 free_mib
  while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
  free_mib=$(($(df -Pk "$folder" | awk 'NR == 2 {print $4}') / 1024))
  [ "$free_mib" -ge "$mib" ] || stop "no space: $free_mib MiB are free in $folder, and $mib MiB are needed"
}

check_space() {
  local there_mib=0
  [ ! -d "$venv" ] || there_mib=$(du -sm "$venv" | cut -f1)
  must_be_free "$venv" $((needed_mib - there_mib))
  must_be_free "${TMPDIR:-/tmp}" $unpacked_mib
}

make_environment() {
  local python
  if python=$(find_python); then
    "$python" -c 'import venv, ensurepip' 2>/dev/null \
      || stop "$python cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv"
    say "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
  elif command -v uv >/dev/null; then
    say "making $venv with a Python 3.11 that uv brings"
    uv venv --quiet --seed --clear --python 3.11 "$venv"
  else
    stop "Python 3.11 is needed, and $(python3 --version 2>/dev/null || echo 'no Python') was found. On Debian 12: apt-get install python3 python3-venv. Elsewhere install uv, which brings one"
  fi
}

# A step is repeated when what it installs from has changed or it was interrupted, and only then.
once() {
  local name=$1 inputs=$2 stamp
  stamp="$venv/.hindcast-$name"
  shift 2
  # shellcheck disable=SC2086 # inputs is a list of files
  cat $inputs | cmp -s - "$stamp" && return
  rm -f "$stamp"
  "$@"
  # shellcheck disable=SC2086
  cat $inputs > "$stamp"
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
install_locked() { say "installing $1"; pip install -qq --require-hashes --no-deps -r "$1"; }

# tensorflow and tensorflow-cpu lie in the same folder: the one must be gone before the other comes.
install_base() {
  if pip show -qq "$other" 2>/dev/null; then
    say "removing $other"
    pip uninstall -qq -y "$other"
  fi
  install_locked $lock
}

build_horovod() {
  say "building Horovod against this TensorFlow (two to three minutes)"
  # The build finds cmake and python by name. No cached wheel may be taken: one fits exactly one TensorFlow.
  PATH="$venv/bin:$PATH" CMAKE_POLICY_VERSION_MINIMUM=3.5 \
  HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1 \
    pip install -qq --require-hashes --no-deps --no-build-isolation --no-cache-dir --force-reinstall \
      --no-binary horovod -r requirements/horovod.txt
}

# Spark starts without it as well, if later: where it cannot be made, a line says why.
archive_classes() {
  say "archiving Spark's Java classes, for it to start sooner"
  "$venv/bin/python" -m hindcast.launch.spark.class_archive
}

command -v g++ >/dev/null && command -v make >/dev/null \
  || stop "a C++ compiler and make are needed to build Horovod. On Debian or Ubuntu: apt-get install make g++"
cmp -s $lock "$venv/.hindcast-base" || check_space
"$venv/bin/python" -c 'import pip' 2>/dev/null || make_environment
once base $lock install_base
once horovod "$lock requirements/horovod.txt" build_horovod
[ "$profile" != dev ] || once dev requirements/dev.txt install_locked requirements/dev.txt
once project pyproject.toml pip install -qq --no-deps --no-build-isolation --editable .
once classes "$lock" archive_classes
