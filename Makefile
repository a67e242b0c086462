# make demo | test | lint | bench | torture | simulate: each installs what it needs. Needs a machine with Python 3.11 and nothing else.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
PYTEST_ARGS ?=
WORKERS ?= 2
TORTURE_ARGS ?=
SIMULATE_ARGS ?=

.PHONY: install demo test lint format bench torture simulate clean
install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@echo "Installing into .venv (some minutes the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

demo: install
	$(BIN)/portrait demo

test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install
	$(BIN)/python -m benchmarks

torture: install
	$(BIN)/python -m tests.torture $(TORTURE_ARGS)

simulate: install
	$(BIN)/python -m tests.simulation $(SIMULATE_ARGS)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
