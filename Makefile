# `make demo` and `make test` do all set-up themselves, in .venv. GNU make 3.81, which macOS ships, is enough.
# Where the registry's torch for your platform carries CUDA and you don't want that:
#     make demo TORCH_INDEX=<address of PyTorch's index of CPU builds>

PYTHON ?= python3
TORCH_INDEX ?=
TEST_WORKERS ?= 2
PYTEST_ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo up test test-slow check bench clean

setup: $(STAMP)

# Torch comes first and by its pin alone: a bare or wider request may bring gigabytes of CUDA.
$(STAMP): pyproject.toml sdk/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "ModelPress needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; name another one: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12")'
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL=$(TORCH_INDEX)) $(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ./sdk -e ".[test]"
	@touch $(STAMP)

demo: setup
	$(BIN)/python -m demo

up: setup
	$(BIN)/modelpress-server up --detach

# One thread each: tests run side by side, and threads beyond the cores only get in each other's way.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(TEST_WORKERS) --dist worksteal $(PYTEST_ARGS)

test-slow: setup
	$(BIN)/pytest -m slow $(PYTEST_ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m bench

clean:
	rm -rf .venv build dist out sdk/build sdk/dist *.egg-info sdk/*.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
