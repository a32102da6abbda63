# make run    talk to the bot (in the terminal, or on Telegram and Discord once they have a token)
# make test   the whole test suite
# make check  format, lint, types, import rules      make fix    mend format and lint
# make bench  measure overhead and speed on this machine
# make lock   write constraints.txt anew from what is installed

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable
ARGS ?=

.PHONY: run test check fix bench lock clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	@$(BIN)/banter run $(ARGS)

test: $(VENV)/installed-dev
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: $(VENV)/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/installed-dev
	@$(BIN)/banter bench $(ARGS)

lock: $(VENV)/installed-dev
	@{ echo "# Every version the project is tested with; 'make lock' writes it anew."; \
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# What pip prints goes to stderr: standard output is the conversation's.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Banter into $(VENV) (once; a few minutes)..." >&2
	@$(INSTALL) . >&2
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Banter and its test tools into $(VENV) (once; a few minutes)..." >&2
	@$(INSTALL) '.[dev]' >&2
	@touch $@ $(VENV)/installed

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Banter needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian and Ubuntu, apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }
