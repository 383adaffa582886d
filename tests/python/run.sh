#!/usr/bin/env bash
# Runs the Python tests: of the package, of the layers for PyTorch, of the examples, and of the
# drop-in classes.
#
#   tests/python/run.sh [FOLDER]
#
# FOLDER is the virtual environment (build/python), which is made if it does not exist. DAMO_LIBRARY
# names the library to test; without it the package finds the checkout's own. PYTHON is the
# interpreter of the environment (/usr/bin/python3: with Debian's python3-torch it has a small torch
# for CPUs). NumPy is installed from the registry if it is missing. Without torch the tests of its
# layers are skipped, with a message.
set -euo pipefail
tests=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
checkout=$(dirname -- "$(dirname -- "$tests")")
environment=${1:-$checkout/build/python}
python=${PYTHON:-/usr/bin/python3}
[ -x "$python" ] || python=python3

if ! "$environment/bin/python" -c '' 2>/dev/null; then
  mkdir -p "$environment"
  # Without pip, which is a package of its own on Debian and which the tests do not need.
  "$python" -m venv --system-site-packages --without-pip "$environment"
fi
if ! "$environment/bin/python" -c 'import numpy' 2>/dev/null; then
  "$environment/bin/python" -m ensurepip >/dev/null
  "$environment/bin/python" -m pip install --quiet numpy
fi
# For the test of types, which is skipped, with a message, if mypy cannot be installed.
if ! "$environment/bin/python" -c 'import mypy' 2>/dev/null; then
  { "$environment/bin/python" -m ensurepip &&
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --retries 1 \
      --timeout 20 'mypy>=1.5'; } \
    >/dev/null 2>&1 || printf 'mypy cannot be installed here: types are not checked\n'
fi

export PYTHONPATH="$checkout/python" PYTHONDONTWRITEBYTECODE=1
"$environment/bin/python" -c 'import damo; print("testing", damo._c_api.library_path)'
for suite in package torch_layers examples; do
  printf '== %s\n' "$suite"
  (cd -- "$tests/$suite" && "$environment/bin/python" -W error -m unittest discover -s . -t .)
done
if [ -x "$tests/run_dropin.sh" ]; then
  printf '== drop-in classes of the package\n'
  PYTHON="$environment/bin/python" "$tests/run_dropin.sh" "$checkout/python"
fi
