#!/usr/bin/env bash
# The steps of `make test`: etc/test.sh STEP... runs them all, also past a failure, and closes with a table.
#
# A step returns 0 (passed), 77 (there is nothing to do yet; it says why), or anything else (failed).
set -uo pipefail

BIN="$PWD/.venv/bin"
export PATH="$BIN:$PATH"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"  # the workers share the cores
JOBS="${JOBS:-2}"
NOTHING=77

nothing() { echo "nothing to do: $*"; return $NOTHING; }
has_command() { [ -f "lib/frugal/cli/$1.py" ]; }
notebooks() { find course solutions -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' 2>/dev/null | sort; }

step_style() { ruff check . && ruff format --check .; }
step_floors() { lint-imports --no-logo; }
step_types() { mypy; }
step_unit() { pytest -q -n "$JOBS" --dist loadscope --doctest-modules tests lib/frugal; }

# A notebook is one item for xdist: its cells share a kernel (--dist loadscope).
step_notebook-tests() {
  local books; books=$(notebooks)
  [ -n "$books" ] || { nothing "no notebooks in course/ or solutions/"; return; }
  # shellcheck disable=SC2086
  env -u FRUGAL_DATA pytest -q -p no:cacheprovider --nbval --nbval-current-env --nbval-sanitize-with tests/sanitize.cfg \
    -n "$JOBS" --dist loadscope $books
}

step_coverage() {
  has_command coverage || { nothing "no coverage command"; return; }
  python -m frugal coverage
}

step_verify() {
  has_command labs || { nothing "no labs command"; return; }
  python -m frugal labs verify
}

# Built notebooks equal what their sources build today.
step_rebuild() {
  has_command notebooks && has_command labs || { nothing "no notebooks or labs command"; return; }
  python -m frugal notebooks --check && python -m frugal labs build --check
}

run() {
  local step=$1 start=$SECONDS word status
  printf '\n---- %s ----\n' "$step"
  "step_$step"
  status=$?
  case $status in
    0) word=passed; passed=$((passed + 1)) ;;
    "$NOTHING") word="nothing to do" ;;
    *) word=FAILED; failed=$((failed + 1)) ;;
  esac
  rows+=("$(printf '  %-16s %-14s %4d s' "$step" "$word" $((SECONDS - start)))")
}

passed=0 failed=0 rows=()
for step in "$@"; do
  declare -F "step_$step" >/dev/null || { echo "test: no step '$step'" >&2; exit 2; }
  run "$step"
done
if [ $# -gt 1 ]; then
  printf '\n'
  printf '%s\n' "${rows[@]}"
  printf '\nsteps: %d passed, %d failed\n' "$passed" "$failed"
fi
[ "$failed" -eq 0 ]
