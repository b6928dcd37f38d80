# One command each; `make` alone lists them. Everything is installed into .venv, nothing outside this folder.
# Stamp files in there make a second run quick; a change of pyproject.toml or constraints.txt installs again.

VENV   ?= .venv
RUNS   ?= runs
# Tried in this order, the first that is 3.11 or newer and has venv; or name one: make test PYTHON=/path/to/python3
PYTHON ?= python3 python3.13 python3.12 python3.11 python3.14 python

PY  := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input
# An editable install points at this folder, so a copied or moved .venv must be seen as not made yet.
STAMP := $(VENV)/.made-$(shell pwd | cksum | cut -d ' ' -f 1)
comma := ,

# pytest's workers are the parallelism; more threads in each would only fight over the same cores.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses=4

# $(call install,EXTRAS): one retry, because a download of this size is sometimes cut off; pip keeps what it has.
define install
	@echo "Installing nelbo with its extras [$(1)] into $(VENV) (torch is large: the first time takes minutes) …"
	@set -- install --quiet --retries 10 --constraint constraints.txt --editable '.[$(1)]'; \
	$(PIP) "$$@" || { echo "pip failed; trying once more …" >&2; sleep 2; $(PIP) "$$@"; }
	@touch $@
endef

.PHONY: help demo test test-slow lint bench docs clean
.DEFAULT_GOAL := help
.NOTPARALLEL:

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP)-all  ## fit the digits, print held-out log p(x) beside exact pPCA's, write a picture
	$(VENV)/bin/nelbo fit digits --out '$(RUNS)/digits' --overwrite

test: $(STAMP)-test  ## the test suite (tests of data sets need NELBO_DATA and are skipped without it)
	$(PYTEST) -m 'not slow'

test-slow: $(STAMP)-test  ## the tests that take minutes
	$(PYTEST) -m slow

lint: $(STAMP)-lint  ## ruff, the format, strict types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict src

bench: $(STAMP)-bench  ## every benchmark, one after the other (most need NELBO_DATA; all cores, many minutes)
	@set -e; for file in benchmarks/[a-z]*.py; do name=$${file##*/}; \
		echo "== python -m benchmarks.$${name%.py}"; $(PY) -m "benchmarks.$${name%.py}"; done

docs: $(STAMP)-docs  ## the documentation, into docs/_build/html
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:  ## remove .venv, runs, caches and builds
	rm -rf '$(VENV)' '$(RUNS)' dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv that works is kept; a half-made one is made anew.
$(STAMP):
	@$(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && touch $@ && exit; \
	for python in $(PYTHON); do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(VENV) with $$($$python -c 'import sys; print(sys.executable, sys.version.split()[0])') …"; \
			$$python -m venv --clear '$(VENV)' && touch $@; exit; \
		fi; \
	done; \
	echo "nelbo needs Python >= 3.11 with its venv module; none of these is one: $(PYTHON)." \
		"Install it, or name it: make PYTHON=/path/to/python3" >&2; exit 2

$(STAMP)-all: $(STAMP) pyproject.toml constraints.txt
	$(call install,all)

$(STAMP)-test: $(STAMP) pyproject.toml constraints.txt
	$(call install,test)

$(STAMP)-lint: $(STAMP) pyproject.toml constraints.txt
	$(call install,all$(comma)lint)

$(STAMP)-docs: $(STAMP) pyproject.toml constraints.txt
	$(call install,docs)

$(STAMP)-bench: $(STAMP) pyproject.toml constraints.txt
	$(call install,bench)
