# `make run` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help run test chaos bench-peers check lint types lock audit clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(VENV)/.run ## start API, dispatcher, simulators and an embedded PostgreSQL on 127.0.0.1:8000
	$(BIN)/postbacks serve --sandbox

test: $(VENV)/.dev ## the whole test suite (PYTEST_ARGS=… for pytest)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

chaos: $(VENV)/.dev ## kills, outages and upgrades at full length, with figures (docs/guarantees.md)
	POSTBACKS_CHAOS=full $(BIN)/python -m pytest -m chaos -s --durations=40 tests/chaos $(PYTEST_ARGS)

JOBS ?= 200000
RUNS ?= 1
DISPATCHERS ?= 2

bench-peers: $(VENV)/.run ## our dispatcher beside Celery, arq, procrastinate, … (JOBS=200000 RUNS=1 DISPATCHERS=2; benchmarks/peers/README.md)
	$(BIN)/python benchmarks/peers/run.py --jobs $(JOBS) --runs $(RUNS) --dispatchers $(DISPATCHERS)

check: lint types ## everything that is read rather than run

lint: $(VENV)/.dev ## ruff, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

audit: $(VENV)/.dev ## known vulnerabilities in the locked dependencies (asks the package index)
	$(BIN)/pip-audit --requirement requirements.lock --disable-pip --require-hashes

lock: ## resolve the dependencies anew into the lock files (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --no-annotate -q pyproject.toml --group build -o requirements.lock
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --no-annotate -q pyproject.toml --group build --group dev -o requirements-dev.lock

clean: ## remove the virtual environment (not the data in .postbacks)
	rm -rf $(VENV)

# The stamps make a second run start at once, and work without a network.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Postbacks needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes --requirement requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes --requirement requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@ $(VENV)/.run
