#!/usr/bin/env bash
# Runs the tests of the drop-in classes against the module damo in a folder: swig/build.sh's, or the
# package's.
#
#   tests/python/run_dropin.sh FOLDER [unittest's arguments]
#
# PYTHON (environment) is the interpreter, which needs NumPy: python3. DAMO_LIBRARY tells the
# package where the library is.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
tests=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)/dropin
module=$(CDPATH='' cd -- "$1" && pwd -P)
shift
# No other damo may come first, installed or in the working directory.
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
