# One command each; `make` alone lists them. Everything is installed into .venv, nothing outside this folder.
# Stamp files in there make a second run quick; a change of pyproject.toml or constraints.txt installs again.

VENV   ?= .venv
RUNS   ?= runs
# What the benchmarks compare with lives in an environment of its own, so that no peer is ever installed beside nelbo.
PEERS  ?= .venv-peers
# Tried in this order, the first that is 3.11 or newer and has venv; or name one: make test PYTHON=/path/to/python3
PYTHON ?= python3 python3.13 python3.12 python3.11 python3.14 python

PY  := $(VENV)/bin/python
PIP := -m pip --disable-pip-version-check --no-input
# An editable install points at this folder, so a copied or moved .venv must be seen as not made yet.
MADE  := .made-$(shell pwd | cksum | cut -d ' ' -f 1)
STAMP := $(VENV)/$(MADE)
comma := ,

# pytest's workers are the parallelism; more threads in each would only fight over the same cores.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses=4

# $(call pip,ENVIRONMENT,ARGUMENTS): one retry, because a download of this size is sometimes cut off; pip keeps what it
# has.
define pip
	@echo "Installing $(2) into $(1) (torch is large: the first time takes minutes) …"
	@set -- install --quiet --retries 10 --constraint constraints.txt $(2); \
	$(1)/bin/python $(PIP) "$$@" || { echo "pip failed; trying once more …" >&2; sleep 2; $(1)/bin/python $(PIP) "$$@"; }
	@touch $@
endef

# $(call install,EXTRAS): nelbo with its extras.
install = $(call pip,$(VENV),--editable '.[$(1)]')

# $(call environment,ENVIRONMENT): one that works is kept; a half-made one is made anew.
define environment
	@$(1)/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && touch $@ && exit; \
	for python in $(PYTHON); do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(1) with $$($$python -c 'import sys; print(sys.executable, sys.version.split()[0])') …"; \
			$$python -m venv --clear '$(1)' && touch $@; exit; \
		fi; \
	done; \
	echo "nelbo needs Python >= 3.11 with its venv module; none of these is one: $(PYTHON)." \
		"Install it, or name it: make PYTHON=/path/to/python3" >&2; exit 2
endef

.PHONY: help demo test test-slow faults lint peers bench transcripts docs runtime clean
.DEFAULT_GOAL := help
.NOTPARALLEL:

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP)-all  ## fit the digits, print held-out log p(x) beside exact pPCA's, write a report, and diagnose the fit
	$(VENV)/bin/nelbo fit digits --out '$(RUNS)/digits' --overwrite
	$(VENV)/bin/nelbo diagnose '$(RUNS)/digits' digits
	$(VENV)/bin/nelbo report '$(RUNS)/digits'

test: $(STAMP)-test  ## the test suite (tests of data sets need NELBO_DATA and are skipped without it)
	$(PYTEST) -m 'not slow'

test-slow: $(STAMP)-test  ## the tests that take minutes
	$(PYTEST) -m slow

faults: $(STAMP)-test  ## the tests of faults that were met in use, slow ones included
	$(PYTEST) -m fault

lint: $(STAMP)-lint  ## ruff, the format, strict types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict src

peers: $(PEERS)/$(MADE)-peers  ## what the benchmarks compare with, in .venv-peers

bench: $(STAMP)-bench peers  ## every benchmark, one after the other (most need NELBO_DATA; all cores, many minutes)
	@set -e; for file in benchmarks/[a-z]*.py; do name=$${file##*/}; \
		echo "== python -m benchmarks.$${name%.py}"; NELBO_PEERS='$(PEERS)/bin/python' $(PY) -m "benchmarks.$${name%.py}"; done

transcripts: $(STAMP)-test  ## run what README and docs show, and write into them what comes out
	$(PY) docs/transcripts.py
	$(PY) docs/pictures.py

docs: $(STAMP)-docs  ## the documentation, into docs/_build/html
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

runtime:  ## the two files by which explorers decode in the browser, from npm (an install does it by itself)
	$(word 1,$(PYTHON)) hatch_build.py

clean:  ## remove both environments, runs, caches and builds
	rm -rf '$(VENV)' '$(PEERS)' '$(RUNS)' dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP):
	$(call environment,$(VENV))

$(PEERS)/$(MADE):
	$(call environment,$(PEERS))

$(PEERS)/$(MADE)-peers: $(PEERS)/$(MADE) benchmarks/peers.txt constraints.txt
	$(call pip,$(PEERS),--requirement benchmarks/peers.txt)

$(STAMP)-all: $(STAMP) pyproject.toml constraints.txt
	$(call install,all)

$(STAMP)-test: $(STAMP) pyproject.toml constraints.txt
	$(call install,test$(comma)web)

$(STAMP)-lint: $(STAMP) pyproject.toml constraints.txt
	$(call install,all$(comma)lint)

$(STAMP)-docs: $(STAMP) pyproject.toml constraints.txt
	$(call install,docs)

$(STAMP)-bench: $(STAMP) pyproject.toml constraints.txt
	$(call install,bench)
