# `make help` lists what there is. All of it happens in $(VENV); nothing is installed elsewhere.

VENV ?= .venv
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	command -v $$python && break; done)

BIN := $(VENV)/bin
SOURCES := pyproject.toml $(shell find src -name '*.py' -o -name '*.json' -o -name py.typed \
	-o -path '*/render/page/*')
# Arguments for pytest: make test ARGS='tests/unit -k rows'
ARGS ?=
# How long each of the three parts of `make fuzz` takes.
SECONDS ?= 300

.PHONY: help demo test wasmtime bench lint fuzz clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    install into $(VENV), let a program crash, print its threads' stacks"
	@echo "make test    run the tests; what this machine cannot do is skipped with its reason"
	@echo "make wasmtime  have older versions of Wasmtime for the tests"
	@echo "make bench   measure side by side with gdb and eu-stack; writes bench/README.md"
	@echo "make lint    ruff, and mypy in its strict mode"
	@echo "make fuzz    look for inputs that break it; SECONDS=300 says for how long"
	@echo "make clean   remove $(VENV) and caches"

demo: $(VENV)/installed-demo
	@sh demo/run.sh $(BIN)/unspool

# One more than there are cores: tests also wait, for Wine to start and for cores to be written.
WORKERS = $(shell expr $$(nproc) + 1)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

wasmtime: $(VENV)/installed-dev
	$(BIN)/python -m tests.wasm.install

bench: | python
	$(PYTHON) -m bench $(ARGS)
	$(PYTHON) tools/docs.py

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

# What atheris finds is left in $(VENV)/fuzz-…; its inputs are kept there for the next time.
fuzz: $(VENV)/installed-dev
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install --quiet atheris || \
	echo "make: atheris cannot be installed for this Python; property tests only" >&2
	if $(BIN)/python -c 'import atheris' 2>/dev/null; then for what in core minidump; do \
	$(BIN)/python -m tests.fuzz.atheris_$$what -max_total_time=$(SECONDS) \
	-artifact_prefix=$(VENV)/fuzz-$$what- $(VENV)/fuzz-$$what || exit; done; fi
	UNSPOOL_HYPOTHESIS=fuzz timeout --signal=INT $(SECONDS) \
	$(BIN)/python -m pytest -n auto tests/fuzz $(ARGS) || test $$? -eq 124

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment serves both; what was installed last is what its file says.
$(VENV)/installed-demo: $(SOURCES) tools/install.py | python
	$(PYTHON) tools/install.py demo $(VENV)
	@rm -f $(VENV)/installed-dev && touch $@

$(VENV)/installed-dev: pyproject.toml requirements-dev.txt tools/install.py | python
	$(PYTHON) tools/install.py dev $(VENV)
	@rm -f $(VENV)/installed-demo && touch $@

.PHONY: python
python:
	@test -n "$(PYTHON)" || { \
	echo "no Python 3.11 or newer found; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
