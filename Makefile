# Two commands matter: `make demo` and `make test`. Both install what they need into .venv, nothing outside it.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test check e2e bench format manifests lock clean

help:  ## Show these targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/.installed  ## Make .venv with both console scripts

.venv/.installed: requirements/dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "runai-scheduler needs Python 3.11 or newer; this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## The main job on the embedded cluster (ARGS="--once --json" for one JSON object)
	@$(BIN)/runai-scheduler demo $(ARGS)

test: install  ## Every test; the end-to-end ones too where the control-plane binaries are
	$(BIN)/python -m pytest $(ARGS)

check: install  ## Format, lint, types, arrows between rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

e2e: install  ## Only the tests on a real control plane; fails when its binaries are missing
	RUNAI_E2E=required $(BIN)/python -m pytest tests/e2e $(ARGS)

bench: install  ## Ratios against a do-nothing extender in the same run
	$(BIN)/python -m perf $(ARGS)

format: install  ## Let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

manifests: install  ## Write deploy/ from the models
	$(BIN)/runai-scheduler manifests --write deploy

lock: install  ## Pin the dependencies of pyproject.toml anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --output-file requirements/runtime.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --extra dev --output-file requirements/dev.lock pyproject.toml requirements/build.in

clean:  ## Remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
