# Sourced by make_fixtures and row_by_row: throw-away environments for wheels of damo-embedding.
#
# The wheels are for CPython 3.6 to 3.10 (the last ones to 3.11) on x86-64 Linux. PYTHON names an
# interpreter to take. Without it python3.10 to python3.6 are tried, then those of pyenv, then uv,
# which can install one.

fail() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }

[ "$(uname -sm)" = "Linux x86_64" ] || fail "the wheels are for x86-64 Linux; this is $(uname -sm)"

python=""  # the interpreter, once one is found
candidates=(${PYTHON:+"$PYTHON"} python3.10 python3.9 python3.8 python3.7 python3.6)
if command -v pyenv >/dev/null; then
  # Its own python3.10 runs only where that version is chosen.
  for version in 10 9 8 7 6; do
    candidates+=("$(pyenv root)"/versions/3."$version".*/bin/python)
  done
fi
for candidate in "${candidates[@]}"; do
  if "$candidate" -c 'import sys, venv; sys.exit(not (3, 6) <= sys.version_info[:2] <= (3, 10))' \
    2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  command -v uv >/dev/null ||
    fail "no CPython 3.6 to 3.10 was found; install one (PYTHON=... names it), or install uv"
fi

# Makes the environment $1 with the packages that follow.
environment() {
  if [ -n "$python" ]; then
    "$python" -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "${@:2}"
  else
    uv venv --quiet --python 3.10 "$1" || fail "uv found no CPython 3.10 and could not install one"
    uv pip install --quiet --python "$1/bin/python" --only-binary :all: "${@:2}"
  fi
}
