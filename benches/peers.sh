# Environments for what damo is compared with; sourced by benches/compare/run and benches/crash/run
# after scripts/setup.
#
# Packages from the Python registry go into environments of their own under the cache directory,
# outside the checkout, which can be deleted at any time. A peer that cannot be installed is
# reported as absent, with the reason.
#
#   systems             the systems that were asked for, by name, separated by commas; empty for all
#   DAMO_COMPARE_PYTHON_NAME   is set to the interpreter that can import the peer NAME
#   DAMO_COMPARE_ABSENT_NAME   is set to the reason why there is none

wanted() { [ -z "${systems:-}" ] || [[ ",$systems," == *",$1,"* ]]; }

# Prints the value of an option in a script's arguments, given as "--name VALUE" or "--name=VALUE";
# empty without the option. Usage: option_value --name "$@"
option_value() {
  local name=$1
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      "$name") printf '%s' "${2:-}"; return ;;
      "$name"=*) printf '%s' "${1#*=}"; return ;;
    esac
    shift
  done
}

asks_for_help() { [[ " $* " == *" -h "* || " $* " == *" --help "* ]]; }

# Installs the system's packages for Python: the required ones up to "--", then optional ones. Not
# every distribution has the optional ones; the run goes on without them.
system_packages() {
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || return 0
  packages=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do packages+=("$1"); shift; done
  install_packages >&2
  shift || true
  local optional
  for optional in "$@"; do
    packages=("$optional")
    (install_packages >&2) || printf 'damo: cannot install %s\n' "$optional" >&2
  done
}

# Prints the Python that can import the given modules. The system's packages belong to the system's
# Python, which need not be the first in PATH. Usage: python_with MODULE,...
python_with() {
  local candidate
  for candidate in /usr/bin/python3 python3; do
    if "$candidate" -c "import $1" 2>/dev/null; then command -v "$candidate"; return; fi
  done
  fail "no python3 with $1 was found"
}

# Prints the library: the one GIVEN, or $DAMO_LIBRARY, or else cargo's, which is built if it does
# not exist. Usage: damo_library GIVEN
damo_library() {
  local library=${1:-${DAMO_LIBRARY:-}}
  if [ -z "$library" ]; then
    library="$CARGO_TARGET_DIR/release/libdamo.so"
    if [ ! -e "$library" ]; then
      say "building the library" >&2
      (cd "$checkout" && cargo_with_progress build --release --locked) >&2
    fi
  fi
  printf '%s' "$library"
}

# Lists all interpreters of a version, such as 3.10: from PATH, and those that pyenv or uv keep.
pythons() {
  command -v "python$1" || true
  compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1.*/bin/python" || true
  compgen -G "${XDG_DATA_HOME:-$HOME/.local/share}/uv/python/cpython-$1.*/bin/python3" || true
}

# install_peer NAME "VERSIONS OF PYTHON" CHECK REQUIREMENT...
# Makes an environment in which `python -c CHECK` works; otherwise says why not.
install_peer() {
  local name=$1 versions=$2 check=$3 version candidate log reason=""
  shift 3
  local environment="${XDG_CACHE_HOME:-$HOME/.cache}/damo/compare/$name"
  log="$environment.log"
  wanted "$name" || return 0
  mkdir -p "$(dirname "$environment")"
  if [ "$(cat "$environment/installed" 2>/dev/null)" != "$*" ]; then
    for version in $versions; do
      while read -r candidate; do
        "$candidate" -c 'import venv' 2>/dev/null || continue
        say "installing $name with Python $version: $*" >&2
        rm -rf "$environment"
        if "$candidate" -m venv "$environment" >"$log" 2>&1 &&
          "$environment/bin/pip" install --quiet --disable-pip-version-check "$@" >>"$log" 2>&1 &&
          "$environment/bin/python" -c "$check" >>"$log" 2>&1; then
          printf '%s' "$*" >"$environment/installed"
          break 2
        fi
        reason=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1)
      done < <(pythons "$version")
    done
    if [ ! -e "$environment/installed" ]; then
      rm -rf "$environment"
      reason=${reason:-needs one of Python ${versions// /, }, none was found}
      export "DAMO_COMPARE_ABSENT_$name=$reason"
      return 0
    fi
  fi
  export "DAMO_COMPARE_PYTHON_$name=$environment/bin/python"
}

# 1.0.6 has the interface PyStorage/PyEmbedding that takes NumPy arrays and parameters.
install_damo_embedding() {
  install_peer damo_embedding "3.10 3.9 3.8" "import damo; damo.PyEmbedding" \
    "damo-embedding==1.0.6" "numpy<2"
}

# 1.1.12 is the latest release, with the interface PyDamo.
install_damo_embedding_1_1() {
  install_peer damo_embedding_1_1 "3.10 3.11 3.9 3.8" "import damo; damo.PyDamo" \
    "damo-embedding==1.1.12" "numpy<2"
}

install_lmdb() {
  install_peer lmdb_numpy "3.11 3.10 3.12 3.9" "import lmdb, numpy" "lmdb" "numpy"
}

# Each release is bound to the TensorFlow it was compiled with.
install_tfra() {
  TF_USE_LEGACY_KERAS=1 install_peer tfra "3.11 3.10 3.9" "import tensorflow_recommenders_addons" \
    "tensorflow-recommenders-addons==0.8.1" "tensorflow==2.16.2" "tf-keras==2.16.0" "numpy<2"
}

# Looks for the newest torch: in the interpreter DAMO_TORCH_PYTHON, or in the environment that
# scripts/test-torch makes. Its packages are too large to install for a comparison alone.
find_torch_newest() {
  local python=${DAMO_TORCH_PYTHON:-$checkout/build/torch/bin/python}
  if "$python" -c 'import torch, numpy' 2>/dev/null; then
    export "DAMO_COMPARE_PYTHON_torch_newest=$python"
  else
    export DAMO_COMPARE_ABSENT_torch_newest="no newest torch: scripts/test-torch installs it, \
DAMO_TORCH_PYTHON names a python that has it"
  fi
}

# Looks for FBGEMM's processor kernels in the interpreter DAMO_FBGEMM_PYTHON. A release of theirs
# works with one release of torch, whose packages are too large to install for a comparison alone.
find_fbgemm() {
  local python=${DAMO_FBGEMM_PYTHON:-}
  if [ -n "$python" ] && "$python" -c 'import fbgemm_gpu, numpy' 2>/dev/null; then
    export "DAMO_COMPARE_PYTHON_fbgemm=$python"
  elif [ -n "$python" ]; then
    export DAMO_COMPARE_ABSENT_fbgemm="DAMO_FBGEMM_PYTHON names $python, which cannot import \
fbgemm_gpu and numpy"
  else
    export DAMO_COMPARE_ABSENT_fbgemm="not installed: DAMO_FBGEMM_PYTHON names a python that has \
fbgemm-gpu-cpu and the torch that it was made for"
  fi
}

# Looks for torch in the given Python, as Debian's package installs it. Usage: find_torch PYTHON
find_torch() {
  if "$1" -c 'import torch' 2>/dev/null; then
    export "DAMO_COMPARE_PYTHON_torch_sparse_adam=$1"
  else
    export DAMO_COMPARE_ABSENT_torch_sparse_adam="python3-torch is not installed"
  fi
}
