# `make demo` and `make test` do everything on a fresh machine; both only need Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test coverage browser lint format surface docs clean

demo: $(VENV)/.installed
	$(BIN)/crm-mcp demo

test: lint browser
	$(BIN)/pytest -q -n auto

coverage: $(VENV)/.installed browser
	$(BIN)/pytest -q -n auto --cov --cov-report=term:skip-covered

# The approval page is tested in a real browser: the one that is there, or else Debian's.
browser:
	@if command -v chromedriver && { command -v chromium || command -v chromium-browser || \
	command -v google-chrome || command -v google-chrome-stable || \
	command -v "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; }; then exit; fi >/dev/null; \
	{ test "$$(id -u)" = 0 && command -v apt-get && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver; \
	} >/dev/null || echo "The tests need Chromium or Chrome, and chromedriver: install them."

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

# What is derived from the code and committed: the tools' descriptions, the contract's documents, the README's tables,
# what becomes of writes when the CRM fails.
surface: $(VENV)/.installed
	$(BIN)/python -m crm_mcp.tools.surface

docs: surface
	$(BIN)/python -m crm_mcp.crm.openapi docs
	$(BIN)/python docs/generate.py
	$(BIN)/python tests/faults.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage dist
