# Every command of the project. `make` alone lists them.
#
#   make course     the course in JupyterLab
#   make test       everything that must pass
#
# The first run fills .venv; a stamp for each step lets the next run start at once, and a step that was interrupted is
# done again. Nothing outside this folder is changed.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
STAMPS := $(VENV)/.stamps

ARGS  ?=
LAB   ?=
START := course/0_start/0_1_your_machine.ipynb

# At most four test workers: each of them imports torch.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
JOBS  ?= $(shell n=$(CORES); echo $$(( n < 4 ? n : 4 )))

NATIVE := $(wildcard lib/frugal/kernels/csrc/*.* etc/native/CMakeLists.txt)

.PHONY: help course setup system test check style floors types unit notebook-tests coverage verify rebuild \
        notebooks labs book bench grade doctor lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- the environment ------------------------------------------------------------------------------------------------

setup: $(STAMPS)/project  ## make .venv with everything pinned, and build the native code
	@$(PY) -c 'from frugal.kernels import native; print("setup: ready.", native.status())'

$(STAMPS)/venv:
	@etc/setup.sh venv $(PYTHON) $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/packages: constraints.txt etc/setup.sh $(STAMPS)/venv
	@etc/setup.sh packages $(VENV)
	@touch $@

# Installed without native code, and there is a compiler now: try again.
HAVE_NATIVE := $(wildcard lib/frugal/kernels/libfrugal_native.*)
AGAIN := $(if $(HAVE_NATIVE),,$(if $(shell command -v c++ || command -v g++ || command -v clang++),again))
.PHONY: again

$(STAMPS)/project: $(AGAIN) pyproject.toml lib/frugal/__init__.py $(NATIVE) $(STAMPS)/packages
	@etc/setup.sh project $(VENV)
	@touch $@

system:  ## say which system packages are missing, and how to get them
	@etc/system.sh

doctor: setup  ## say what this machine has and lacks
	@$(PY) -m frugal doctor

lock: setup  ## pin the packages again, within the bounds of pyproject.toml; ARGS=--upgrade takes the newest
	@etc/setup.sh lock $(VENV) $(ARGS)

clean:  ## remove what was built; the notebooks stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .grimp_cache .hypothesis
	rm -f lib/frugal/kernels/libfrugal_native.*
	find etc/native -mindepth 1 ! -name CMakeLists.txt -delete
	find lib tests course labs solutions benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# ---- the course and its labs -----------------------------------------------------------------------------------------------------

course: setup  ## open the course in JupyterLab; ARGS="--no-browser --port 9000" go to `jupyter lab`
	@page=(); if [ -f $(START) ]; then page=(--LabApp.default_url=/lab/tree/$(START)); fi; \
	PATH="$(CURDIR)/$(BIN):$$PATH" JUPYTER_CONFIG_PATH="$(CURDIR)/etc/jupyter" \
	exec $(BIN)/jupyter lab "$${page[@]}" $(ARGS)

notebooks: setup  ## build and execute the chapters from course/*/src
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) -m frugal notebooks

labs: setup  ## build the labs and their solutions from solutions/src
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) -m frugal labs build

book: setup  ## build the HTML book into build/book
	@if [ -f book/conf.py ]; then $(BIN)/sphinx-build -n -W -b html book build/book; \
	else echo "book: planned; there is no book/conf.py yet. The chapters read well as they are, in course/"; fi

# From nbgrader's inbound folder, or from FROM: a folder or a zip download. grades.csv comes also where some are unread.
FROM ?= $(or $(FRUGAL_EXCHANGE),grading/exchange)/frugal/inbound
grade: setup  ## mark a lab, write gradebook, feedback and grades.csv: make grade LAB=lab_4_1_affine [FROM=folder]
	@if [ -z "$(LAB)" ]; then echo "grade: which lab? make grade LAB=lab_4_1_affine"; exit 2; fi
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; status=0; \
	$(PY) -m frugal labs stage "$(LAB)"; \
	$(PY) -m frugal grade "$(LAB)" "$(FROM)" $(ARGS) || status=$$?; \
	if [ $$status -lt 2 ]; then $(PY) -m nbgrader export; fi; exit $$status

bench: setup  ## measure: every file of benchmarks/, results in benchmarks/results/
	@set -- benchmarks/*.py; if [ ! -e "$$1" ]; then echo "bench: there are no benchmarks yet"; exit 0; fi; \
	for file in "$$@"; do echo "---- $$file"; \
	$(PY) $$file --json benchmarks/results/$$(basename $$file .py).json $(ARGS); done

# ---- tests ----------------------------------------------------------------------------------------------------------

QUICK := style floors types
STEPS := $(QUICK) unit notebook-tests coverage verify rebuild

test: setup system  ## run everything that must pass
	@JOBS=$(JOBS) etc/test.sh $(STEPS)

check: setup  ## the quick part: form, floors, types
	@etc/test.sh $(QUICK)

# Each step is a target too: make unit, make floors, ...
$(STEPS): setup
	@JOBS=$(JOBS) etc/test.sh $@
