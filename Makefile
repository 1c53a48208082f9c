# What to type. Every target prepares the clone first (.ci/setup), and again only when a lock or pyproject.toml changed.
#
#   make demo DEMO_ARGS="--seconds 60 --json out.json"
#   make test TEST_ARGS="tests/core -x"
#   make demo PYTHON=/path/to/python3.12

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help lab setup demo test check format lint types imports repository docs bench lock clean

BIN := .venv/bin
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
export PYTHON

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv and install what the locks name (every other target does this by itself)
	@.ci/setup

demo: setup ## An office on this machine: an origin, a coordinator, agents, viewers (DEMO_ARGS="--seconds 60")
	@$(BIN)/python -m tests.demo $(DEMO_ARGS)

test: setup ## All tests but the long ones of lab, nothing by the clock; at the end what was skipped, and why (TEST_ARGS="tests/core -x")
	@$(BIN)/python -m pytest $(TEST_ARGS)

lab: setup ## Offices in trouble, thirty agents, overloaded lines, real players, and all that is timed (root; about 50 minutes)
	@$(BIN)/python -m pytest -m "office or lab or lab_scale or clock" $(TEST_ARGS)

check: format lint types imports repository ## Everything that needs no run: format, lint, types, floors, repository

format: setup
	@$(BIN)/ruff format --check .

lint: setup
	@$(BIN)/ruff check .

types: setup
	@$(BIN)/mypy --no-error-summary

imports: setup
	@$(BIN)/lint-imports --no-logo

repository: setup
	@$(BIN)/python -m pytest -q tests/repository

docs: setup ## Write the generated pages and tables of docs/ anew
	@$(BIN)/python -m tests.repository.generate

bench: setup ## Measure (BENCH_ARGS="…"; see docs/benchmarks.md)
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

# uv from PATH, else the one in .venv. Versions stay as they are unless LOCK_ARGS="--upgrade" says otherwise.
lock: setup ## Make requirements.lock anew after a change of dependencies (LOCK_ARGS="--upgrade")
	@command -v uv >/dev/null || test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@PATH="$$PATH:$$PWD/$(BIN)" uv pip compile --quiet --universal --python-version 3.12 --all-extras --generate-hashes \
		--no-emit-index-url --no-header --no-annotate $(LOCK_ARGS) --output-file requirements.lock pyproject.toml
	@rm -f .venv/.installed

clean: ## Remove .venv, the players and all caches
	@rm -rf .venv tests/npm/node_modules build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -f .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
