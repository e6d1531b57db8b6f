# Every command a developer needs. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev quickstart test test-vllm test-slow test-commands lint format type floors docs notebooks notebooks-full hooks clean
BIN := .venv/bin
ifdef PYTHON
export PYTHON
endif

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## create .venv and install the pinned CPU stack (PYTHON=python3.12 picks an interpreter)
	@scripts/setup_cpu.sh

setup-dev: ## the same, with tests, linters and hooks
	@scripts/setup_cpu.sh dev

quickstart: setup ## train a tiny tool-using agent with real vLLM rollouts and print before and after
	@$(BIN)/agentrl quickstart

test: setup-dev ## the quick tests, on up to four cores
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

test-vllm: setup-dev ## the tests that start vLLM
	@$(BIN)/pytest -m "vllm and not slow and not gpu"

test-slow: setup-dev ## the tests that take minutes
	@$(BIN)/pytest -m "slow and not gpu"

lint: setup-dev ## ruff and codespell
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell

format: setup-dev ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

type: setup-dev ## mypy --strict on the package
	@$(BIN)/mypy

floors: setup-dev ## who may import whom
	@$(BIN)/lint-imports --no-logo

test-commands: setup-dev ## run the commands of README and tutorials, small
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests/e2e/test_commands.py

docs: setup-dev ## the documentation site, into build/docs; a dead link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file scripts/docs/mkdocs.yml

notebooks: setup-dev ## run every notebook with short training runs; nothing is saved
	@$(BIN)/python scripts/notebooks.py --quick

notebooks-full: setup-dev ## run every notebook in full and save it with its outputs
	@$(BIN)/python scripts/notebooks.py

hooks: setup-dev ## run the checks before each commit from now on
	@$(BIN)/pre-commit install

clean: ## remove .venv and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
