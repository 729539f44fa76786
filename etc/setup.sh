#!/usr/bin/env bash
# One step of the set-up; the Makefile keeps a stamp for each, so a step that fails or is interrupted runs again.
#
#   etc/setup.sh venv PYTHON VENV     an empty environment, from a Python that is new enough
#   etc/setup.sh packages VENV        every package at the version, and with the hash, that constraints.txt names
#   etc/setup.sh project VENV         this project, editable, with its native code where a compiler is found
#   etc/setup.sh lock VENV [ARGS]     write constraints.txt again; ARGS go to uv (--upgrade)
set -euo pipefail

OLDEST=3.11.7  # as in pyproject.toml: Debian 12's 3.11.2 breaks nbgrader's feedback pages

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

new_enough() { "$1" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$OLDEST'.split('.'))))" 2>/dev/null; }

# The Python that was asked for, or the first one on this machine that is new enough.
find_python() {
  local name
  for name in "$1" python3 python3.13 python3.12 python3.11 python3.14; do
    if command -v "$name" >/dev/null && new_enough "$name"; then command -v "$name"; return; fi
    if [ "$1" != python3 ]; then break; fi  # a Python named by hand is not silently replaced
  done
  fail "no Python $OLDEST or newer: '$1' is $("$1" -V 2>/dev/null || echo 'not here')." \
    "Install one, then name it: make setup PYTHON=python3.12"
}

make_venv() {
  local python; python=$(find_python "$1")
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make environments. On Debian and Ubuntu: sudo apt-get install python3-venv"
  say "making $2 with $("$python" -V)"
  "$python" -m venv --clear "$2"
}

# The lines of constraints.txt that pin one package, hashes included.
pinned() { awk -v name="$1==" 'index($0, name) == 1 {on = 1} on {print} on && !/\\$/ {exit}' constraints.txt; }

install_packages() {
  local venv=$1 quiet=() start=$SECONDS one log=build/packages.log
  [ -t 1 ] || quiet=(-q)
  mkdir -p build
  say "installing $(grep -c == constraints.txt) pinned packages (some gigabytes the first time)"
  one=$(mktemp)
  pinned uv > "$one"
  # uv installs in seconds what pip installs in minutes; where it cannot, pip does the same with the same hashes.
  if "$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r "$one" &&
    VIRTUAL_ENV="$PWD/$venv" "$venv/bin/uv" pip install "${quiet[@]}" --no-config --require-hashes -r constraints.txt; then
    :
  elif say "uv could not install them; trying pip, which is slower" &&
    "$venv/bin/python" -m pip install "${quiet[@]}" --disable-pip-version-check --require-hashes -r constraints.txt 2>&1 |
    tee "$log"; then
    :
  elif grep -qi 'do not match the hashes' "$log"; then
    fail "a package is not the file that constraints.txt was made with (see above), so nothing more is installed." \
      "Try again on another network; if it stays so, report it."
  else
    say "the pinned files do not serve this machine ($("$venv/bin/python" -V), $(uname -sm));" \
      "installing what the bounds of pyproject.toml allow instead, without hashes"
    loose_packages "$venv"
  fi
  rm -f "$one"
  say "packages ready after $((SECONDS - start)) s"
}

loose_packages() {
  local list; list=$(mktemp)
  "$1/bin/python" -c '
import pathlib, tomllib
project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
print("\n".join(sum((extras[name] for name in ("dev", "cluster", "postgres")), project["dependencies"])))' > "$list"
  "$1/bin/python" -m pip install -q --disable-pip-version-check -r "$list" ||
    fail "pip could not install the packages. Is there a network? What pip said stands above."
  rm -f "$list"
}

install_project() {
  local venv=$1 log=build/setup.log
  mkdir -p build
  rm -f lib/frugal/kernels/libfrugal_native.*  # what stays after a failed build must not look like a fresh one
  if ! PATH="$PWD/$venv/bin:$PATH" "$venv/bin/python" -m pip install -v --disable-pip-version-check --no-deps \
    --no-build-isolation -e . > "$log" 2>&1; then
    tail -n 25 "$log" >&2
    fail "the project could not be installed; the whole report is in $log"
  fi
  if ! compgen -G 'lib/frugal/kernels/libfrugal_native.*' > /dev/null; then
    find etc/native -mindepth 1 ! -name CMakeLists.txt -delete  # what CMake remembers of a compiler that failed
    say "no native code was built; what CMake and the compiler said is in $log"
  fi
}

lock() {
  local venv=$1; shift
  # Not the extra `peers`: `make setup` installs all that is pinned, and a bench is the only one to want those.
  env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
    "$venv/bin/uv" pip compile --no-config --universal --python-version "$OLDEST" --extra book --extra dev --extra cluster --extra postgres \
    --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@" --quiet -o constraints.txt pyproject.toml
  say "constraints.txt pins $(grep -c == constraints.txt) packages"
}

case ${1:-} in
  venv) make_venv "$2" "$3" ;;
  packages) install_packages "$2" ;;
  project) install_project "$2" ;;
  lock) shift; lock "$@" ;;
  *) fail "unknown step '${1:-}'; the steps are venv, packages, project, lock" ;;
esac
