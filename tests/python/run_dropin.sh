#!/usr/bin/env bash
# Runs the tests of the drop-in classes against the module damo in a folder: that of swig/build.sh,
# or the package's.
#
#   tests/python/run_dropin.sh FOLDER [unittest's arguments]
#
# From the environment, PYTHON is the interpreter (python3), which needs NumPy, and DAMO_LIBRARY is
# the library for the package.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,8p' "${BASH_SOURCE[0]}" >&2; exit 2; }
tests=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)/dropin
module=$(CDPATH='' cd -- "$1" && pwd -P)
shift
# No other damo may come first, neither an installed one nor one in the working directory.
cd -- "$tests"
export PYTHONPATH="$module" PYTHONDONTWRITEBYTECODE=1
found=$("${PYTHON:-python3}" -c 'import damo, os; print(os.path.realpath(damo.__file__))')
case $found in
  "$module"/*) ;;
  *)
    printf 'tests/python/run_dropin.sh: %s has no module damo; the one found is %s\n' \
      "$module" "$found" >&2
    exit 1
    ;;
esac
exec "${PYTHON:-python3}" -W error -m unittest discover -s . -t . "$@"
