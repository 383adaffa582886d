#!/usr/bin/env bash
# Builds the SWIG module: swig/build.sh LIBRARY FOLDER leaves damo.py, _damo.so and the library in
# FOLDER, which can then be put on Python's path. Run swig/build.sh --help for what it needs.
set -euo pipefail

usage() {
  cat <<'END'
usage: swig/build.sh LIBRARY FOLDER

LIBRARY  libdamo.so, as cargo or CMake have built it
FOLDER   where damo.py, _damo.so and a link to the library go; created when it is not there

PYTHON   (environment) the interpreter to build for: python3
CXX      (environment) the compiler: g++
CXXFLAGS (environment) its options: -O2

Needs swig (4.0 or later), a C++17 compiler and Python's headers (Debian: swig g++ python3-dev).
END
}
case ${1-} in -h | --help) usage; exit ;; esac
[ $# -eq 2 ] || { usage >&2; exit 2; }

checkout=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
library=$(realpath -- "$1")
mkdir -p -- "$2"
folder=$(CDPATH='' cd -- "$2" && pwd -P)
python=${PYTHON:-python3}
cxx=${CXX:-g++}
read -ra flags <<<"${CXXFLAGS:--O2}"

headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -e "$headers/Python.h" ] || {
  printf 'swig/build.sh: %s has no Python.h; on Debian the package python3-dev has it\n' \
    "$headers" >&2
  exit 1
}

swig -Wall -Werror -python -c++ -outdir "$folder" -o "$folder/damo_wrap.cxx" "$checkout/swig/damo.i"

# The loader looks for the library by its SONAME. Beside the module it finds it wherever the folder
# goes.
soname=libdamo.so.$(sed -n 's/^#define DAMO_ABI_VERSION //p' "$checkout/include/damo.h")
[ "$library" = "$folder/$soname" ] || ln -sfn -- "$library" "$folder/$soname"
# macOS has another word for "beside the module".
origin='$ORIGIN'
extra=()
if [ "$(uname)" = Darwin ]; then
  origin=@loader_path
  extra=(-undefined dynamic_lookup)
fi
# SWIG's code has unused arguments, and structures that are longer from Python 3.12 on.
"$cxx" -std=c++17 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers \
  "${flags[@]}" -fPIC -shared \
  -I "$checkout/include" -I "$headers" "$folder/damo_wrap.cxx" "$folder/$soname" \
  -Wl,-rpath,"$origin" ${extra[@]+"${extra[@]}"} -o "$folder/_damo.so"
