# `make run` and `make test` do all set-up. They need Python 3.11 or newer, make, and a package index that pip can reach.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
export FLASK_APP := wsgi.py

.PHONY: run test lint bench soak seed-meters psql lock clean

run: $(VENV)/.runtime
	@exec $(BIN)/python -m portal.serve

psql: $(VENV)/.runtime
	@exec $(BIN)/python -m portal.serve psql

seed-meters: $(VENV)/.runtime
	@$(BIN)/flask meters assign-all

test: lint
	@$(BIN)/python -m pytest -n 2 --dist loadgroup tests

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/djlint --check --lint --quiet templates

bench: $(VENV)/.dev
	@$(BIN)/python -m tests.bench

soak: $(VENV)/.dev
	@$(BIN)/python -m tests.soak

# The lock: versions and hashes, no addresses.
lock: $(VENV)/.uv
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--python-version 3.11 pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--python-version 3.11 --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean:
	rm -rf $(VENV)

$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The portal needs Python 3.11 or newer: set PYTHON.")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

# A checkout that has run the tests holds more than the runtime needs; a sync would take it away again.
$(VENV)/.runtime: requirements.txt | $(VENV)/.uv
	@test -e $(VENV)/.dev || $(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt | $(VENV)/.uv
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.txt
	@touch $@ $(VENV)/.runtime
