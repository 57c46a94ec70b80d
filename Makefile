# Two commands for newcomers: `make quickstart` and `make test`. Each makes .venv and installs pinned versions.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
TORCH  := torch==2.13.0
PINS   := pyproject.toml constraints.txt
TEST   := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help quickstart test test-slow check docs clean

help:
	@echo "make quickstart   a model from text to chat on this machine, at most 10 minutes on 2 cores"
	@echo "make test         the test suite"
	@echo "make test-slow    kills, convergence, long runs"
	@echo "make check        lint, format, import layers, types, spelling"
	@echo "make docs         the documentation as a site in site/"

quickstart: $(VENV)/.quickstart
	$(BIN)/nautiloid quickstart

test: $(VENV)/.dev
	$(TEST) -q -n 2 --dist worksteal -m "not slow and not gpu and not nightly"

test-slow: $(VENV)/.dev
	$(TEST) -q -m "slow and not gpu and not nightly"

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/codespell src docs README.md CONTRIBUTING.md CHANGELOG.md Makefile
	@if git ls-files -z -- ':!tests' | xargs -0 grep -nIP '[^\x00-\x7F]' --; then echo "use ASCII in the lines above"; exit 1; fi

docs: $(VENV)/.docs
	PYTHONPATH=src $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .import_linter_cache

# The stamp of an environment is older than the pins after they change, so it is made anew.
$(VENV)/.base: $(PINS)
	@$(PYTHON) -c 'import sys; sys.exit("Nautiloid needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	@touch $@

$(VENV)/.quickstart: $(VENV)/.base
	$(PIP) --editable '.[quickstart]'
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.quickstart

$(VENV)/.docs: $(VENV)/.base
	$(PIP) --editable '.[docs]'
	@touch $@
