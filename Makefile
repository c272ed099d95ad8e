# hdx: everything a machine with Python >= 3.10 and pip needs is done by the targets themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TABLE  ?=

.PHONY: reproduce help demo test ops lint types check bench weights clean

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.core ## make .venv, install, run the main job
	$(BIN)/hdx train +exp=fsa_film

test: $(VENV)/.test ## make .venv if needed, install what tests need, run all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

ops: $(VENV)/.test ## compile the native ops and run the tests of all that uses them with it
	$(BIN)/hdx ops build
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile tests/unit/ops tests/unit/heads tests/unit/losses tests/oracle \
		tests/integration/test_episodic.py tests/integration/test_methods_learn.py --ignore tests/unit/ops/test_cuda_build.py

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy over src/hdx: every function has types
	$(BIN)/mypy

check: test lint types ## everything that must hold before a commit

bench: $(VENV)/.test ## the benchmarks of the engine: ratios measured in one run (idle machine, about five minutes)
	$(BIN)/python scripts/bench/engine.py
	$(BIN)/python scripts/bench/tiny_body.py

weights: $(VENV)/.core ## make the shipped body again from formulas (about half an hour on two cores)
	$(BIN)/hdx pretrain --out src/hdx/backbones/tiny.safetensors

clean: ## remove .venv and caches; outputs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
