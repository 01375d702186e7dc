# Thin: everything here is a plain command of pip, npm, isthmus, pytest, ruff or mypy.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo docs test test-lowest test-slow test-studio lint clean

demo: $(VENV)/.studio
	$(BIN)/isthmus fit digits --random-state 0 --out runs/demo --force --page

# Pages that run code are run again only where they changed; a warning is an error.
docs: $(VENV)/.docs
	rm -rf docs/generated/api
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

test: $(VENV)/.test test-studio
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist loadfile

test-slow: $(VENV)/.ecosystem
	$(BIN)/pytest -m slow

# The suite with the lowest versions that pyproject.toml allows.
test-lowest: $(VENV)-lowest/.test
	$(VENV)-lowest/bin/pytest -n auto --dist loadfile

# The TypeScript tests need Node. Without it the app is not built, and tests of the app are skipped.
test-studio: $(VENV)/.test
	@if command -v npm >/dev/null; then cd studio && \
	{ [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent; } && \
	npm run check && npm run build && npm test; \
	else echo "npm is not installed: the TypeScript tests of the studio are skipped"; fi

lint: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("isthmus needs Python 3.11 or newer: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.studio: $(VENV)/.core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[studio]'
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(VENV)-lowest/.test: pyproject.toml
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/pip install --quiet uv
	VIRTUAL_ENV=$(VENV)-lowest $(VENV)-lowest/bin/uv pip install --quiet --resolution lowest-direct --editable '.[test]'
	touch $@

# What users come from or run on, for the tests that take it: Ray, Spark, Lightning, skorch, pyod.
$(VENV)/.ecosystem: $(VENV)/.test
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ecosystem]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-lowest runs build dist docs/_build docs/generated studio/node_modules src/isthmus/studio/app
