#!/usr/bin/env bash
# Builds the SWIG module and runs its tests: tests/python/run_swig.sh LIBRARY
#
# PYTHON (environment) is the interpreter, which needs NumPy and the headers: python3. The rest is
# as in swig/build.sh.
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
checkout=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
python=${PYTHON:-python3}
library=$(realpath -- "$1")
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
fail() { printf 'tests/python/run_swig.sh: %s\n' "$*" >&2; exit 1; }

# build.sh makes warnings errors. -O1 because the wrapper's speed is not what is tested.
CXXFLAGS=-O1 PYTHON=$python "$checkout/swig/build.sh" "$library" "$scratch/module"

# The command that people know writes the same two files and prints nothing.
mkdir "$scratch/known"
cp "$checkout"/swig/*.i "$scratch/known"
(cd "$scratch" && swig -python -c++ known/damo.i) >"$scratch/said" 2>&1
[ ! -s "$scratch/said" ] || fail "swig -python -c++ says: $(cat "$scratch/said")"
for file in damo.py damo_wrap.cxx; do
  [ -s "$scratch/known/$file" ] || fail "swig -python -c++ wrote no $file"
done

# For another language, SWIG's error names the file to use.
if swig -lua -o "$scratch/other_wrap.c" "$checkout/swig/damo.i" 2>"$scratch/said"; then
  fail "swig -lua takes damo.i"
fi
grep -q 'damo_c\.i' "$scratch/said" || fail "swig -lua says: $(cat "$scratch/said")"

# NumPy is imported by the caller, not by the module.
PYTHONPATH=$scratch/module "$python" -c 'import sys, damo; sys.exit("numpy" in sys.modules)' ||
  fail "the module imports NumPy"

# Every status of the library has a class of its own under Error.
PYTHONPATH=$scratch/module "$python" -c '
import sys, damo
names = [status.name.title().replace("_", "") + "Error" for status in damo.Status if status]
lacks = [name for name in names if not issubclass(getattr(damo, name, int), damo.Error)]
sys.exit("no class " + ", ".join(lacks) if lacks else not names)' ||
  fail "a status has no exception"

# A library with another ABI version is refused before any of its functions is called.
mkdir "$scratch/other"
cp "$scratch/module/damo.py" "$scratch/module/_damo.so" "$scratch/other"
soname=$(cd "$scratch/module" && echo libdamo.so.*)
{
  echo 'unsigned damo_abi_version(void) { return 99; }'
  echo 'const char *damo_version(void) { return "9.9.9"; }'
  # The module must find every name when it is loaded.
  nm -D --undefined-only "$scratch/other/_damo.so" | sed -n 's/.* \(damo_[a-z_]*\)$/\1/p' |
    grep -vx -e damo_abi_version -e damo_version | sed 's/.*/void &(void) { __builtin_trap(); }/'
} | "${CC:-gcc}" -shared -fPIC -x c - -o "$scratch/other/$soname"
if PYTHONPATH=$scratch/other "$python" -c 'import damo' 2>"$scratch/said"; then
  fail "a library with ABI version 99 was taken"
fi
grep -q 'ImportError: .*9\.9\.9.*version 99' "$scratch/said" ||
  fail "another ABI version: $(cat "$scratch/said")"

PYTHON=$python "$checkout/tests/python/run_dropin.sh" "$scratch/module"
