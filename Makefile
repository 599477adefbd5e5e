# Everything from a fresh clone: `make test`, `make test-fast`, `make demo`, `make demo VIDEO=clip.mp4`, `make lint`, `make docs`.
# Set-up goes into .venv at the root and is repeated only when pyproject.toml or constraints.txt change.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
STAMP := $(VENV)/.body4d-installed
BIN := $(VENV)/bin
# The plain one where it serves; torch 2.13 has wheels up to Python 3.14.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
# CPU wheels of torch live on an index of their own; the one on PyPI brings gigabytes of CUDA along on Linux.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Compiling every module of every package takes a minute; Python compiles the few it imports by itself.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile -c constraints.txt
VIDEO ?=
# Compiled modules are kept even where the environment forbids it, as in many containers: without them every one of the tests' processes
# compiles torch and transformers anew, half of the tests' time.
export PYTHONDONTWRITEBYTECODE :=
# Files with slow tests first, each on one worker, so that what a file shares is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup test test-fast test-cuda lint docs format demo faults audit
help:
	@echo "make demo [VIDEO=clip.mp4]   run on a clip, or on a synthetic golf swing and print the scores"
	@echo "make test                    all tests"
	@echo "make test-fast               those without a child process, a browser or the body model's set-up: a minute and a half"
	@echo "make test-cuda               those that need a GPU"
	@echo "make lint                    ruff, ruff format, pyright, import contracts"
	@echo "make faults                  kills, injected faults and mutated videos, in the quick form: one to three minutes"
	@echo "make audit                   known holes in the packages, as far as the advisory services answer"
	@echo "make docs                    the documentation's site, into site/; a broken link is an error"
	@echo "make setup                   only prepare .venv, and fetch the model files of preset lite"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "body4d needs Python 3.11 to 3.14." \
		"Install one, or name it: make setup PYTHON=/path/to/python3.13" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (about 1.5 GB; a few minutes the first time)"
	@$(INSTALL) --no-deps --retries 0 --timeout 15 --index-url $(TORCH_INDEX) torch 2>/dev/null \
		|| $(INSTALL) torch
	$(INSTALL) -e '.[lite,app,dev,docs]'
	@# The model files of preset lite, 77 MB once. Set-up does not fail without a network: the first run fetches them, or says what to do.
	@$(BIN)/body4d weights download lite || echo "Set up without the model files of preset lite; its first run fetches them." >&2
	@touch $@

VALIDATOR := tests/gltf/node_modules/.package-lock.json

# Khronos' glTF validator lives on npm; without npm or a network its test says that it was skipped and why.
$(VALIDATOR): tests/gltf/package-lock.json
	@command -v npm >/dev/null && npm ci --silent --no-audit --no-fund --prefix tests/gltf || echo "glTF validator not installed"

AXE := tests/axe/node_modules/.package-lock.json

# axe-core, which looks for barriers on the app's page; the same holds.
$(AXE): tests/axe/package-lock.json
	@command -v npm >/dev/null && npm ci --silent --no-audit --no-fund --prefix tests/axe || echo "axe-core not installed"

BUNDLER := player/node_modules/.package-lock.json

# esbuild and three.js, with which a test builds the 3D player once more and compares.
$(BUNDLER): player/package-lock.json
	@command -v npm >/dev/null && npm ci --silent --no-audit --no-fund --prefix player || echo "esbuild not installed"

test: $(STAMP) $(VALIDATOR) $(AXE) $(BUNDLER)
	$(PYTEST)

test-fast: $(STAMP)
	$(PYTEST) -m "not slow"

# On a machine with a GPU, whose .venv holds a torch with CUDA.
test-cuda:
	$(BIN)/python -m pytest -m cuda tests/runtime tests/models tests/bodies

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(STAMP)
	NO_COLOR=1 $(BIN)/zensical build --strict --clean

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(STAMP)
	$(BIN)/body4d demo $(if $(VIDEO),--video "$(VIDEO)")

# Not part of `make test`: a minute or two of processes that are killed.
faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults.py --quick

audit:
	scripts/audit.sh
