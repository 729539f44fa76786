#!/usr/bin/env bash
# What this machine should have besides Python: says what is missing, what it is for, and how to get it.
# Nothing here is required; the exit code is 0.
set -euo pipefail

missing=()
want() {  # want "what it is for" DEBIAN_PACKAGE PROGRAM...
  local use=$1 package=$2 program; shift 2
  for program in "$@"; do
    if command -v "$program" >/dev/null; then return; fi
  done
  printf '  note     %-16s missing: %s\n' "$package" "$use"
  missing+=("$package")
}

want "native int8 code; without it everything works, int8 arithmetic more slowly" build-essential c++ g++ clang++
want "marking labs in a sandbox; students do not need it" bubblewrap bwrap
want "tests that drive JupyterLab in a browser; skipped without it" chromium chromium chromium-browser google-chrome
if [ ${#missing[@]} -eq 0 ]; then
  echo "system: everything is here"
elif command -v apt-get >/dev/null; then
  echo "system: to get them: sudo apt-get install ${missing[*]}"
else
  echo "system: to get them, use your system's package manager (macOS: xcode-select --install for the compiler)"
fi
