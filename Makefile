# Thin: everything here is a plain command of pip, npm, isthmus, pytest, ruff or mypy.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-studio lint clean

demo: $(VENV)/.studio
	$(BIN)/isthmus fit digits --random-state 0 --out runs/demo --force --page

test: $(VENV)/.test test-studio
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto --dist worksteal

test-slow: $(VENV)/.test
	$(BIN)/pytest -m slow

# The page's own tests need Node; without it the app cannot have been built, and its tests skip.
test-studio: $(VENV)/.test
	@if command -v npm >/dev/null; then cd studio && \
	{ [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent; } && \
	npm run check && npm run build && npm test; \
	else echo "npm is not installed: the studio's own tests are skipped"; fi

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

$(VENV)/.test: $(VENV)/.core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) runs build dist studio/node_modules src/isthmus/studio/app
