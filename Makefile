# `make demo` and `make test` do everything on a fresh machine; both only need Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test coverage lint format surface docs clean

demo: $(VENV)/.installed
	$(BIN)/crm-mcp demo

test: lint
	$(BIN)/pytest -q -n auto

coverage: $(VENV)/.installed
	$(BIN)/pytest -q -n auto --cov --cov-report=term:skip-covered

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# What is derived from the code and committed: the tools' descriptions, the contract's documents, the README's tables.
surface: $(VENV)/.installed
	$(BIN)/python -m crm_mcp.tools.surface

docs: surface
	$(BIN)/python -m crm_mcp.crm.openapi docs
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage dist
