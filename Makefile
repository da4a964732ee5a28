# make demo [CT=path]   segment the phantom, or a scan of yours; everything it needs goes into .venv
# make check test slow
# make bench              every benchmark, one after the other: many hours of a core; each can be run alone
#
# PYTHON=python3.12               another interpreter (3.11 or newer)
# PIP_ARGS="..."                 more arguments for pip, such as where a torch without CUDA lies (200 MB, not 3 GB)

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt
DEMO := out/demo
PHANTOM := out/phantom

.PHONY: help demo check test slow bench install

help:
	@sed -n 's/^# //p' Makefile

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "expected: Python 3.11 or newer"; echo "got:      $$($(PYTHON) --version)"; \
		  echo "do:       make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/.python
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.python
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps batchgeneratorsv2
	@touch $@ $(VENV)/.runtime

install: $(VENV)/.dev

$(PHANTOM)/ct: | $(VENV)/.runtime
	rm -rf $(PHANTOM)
	$(BIN)/vesalius phantom $(PHANTOM) --format dicom

ifdef CT
demo: $(VENV)/.runtime
	$(BIN)/vesalius segment "$(CT)" -o $(DEMO) --overwrite $(ARGS)
else
demo: $(VENV)/.runtime $(PHANTOM)/ct
	$(BIN)/vesalius segment $(PHANTOM)/ct -o $(DEMO) --overwrite $(ARGS)
endif
	@echo "labels, volumes, picture and report are in $(DEMO)"

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p vesalius
	$(BIN)/lint-imports --no-logo

## Tests start hundreds of processes: each would compile the package anew where the environment forbids to keep what is.
test slow: export PYTHONDONTWRITEBYTECODE :=
test slow: export OMP_NUM_THREADS := 1

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n logical --dist worksteal $(ARGS)

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m slow -n logical --dist worksteal $(ARGS)

## First what others start from: the cases, and transformers pretrained on their slices.
BENCH_FIRST := built_in_model/prepare pretraining_works
## Parts of others, which import or start them; few_shot_nnunet by nnU-Net's own Python.
BENCH_PARTS := sides by_heart click_places clicks_monai clicks_ours slice_runs few_shot_nnunet
## Measures nothing: draws the pictures of docs/how-to/refine.md, with a model that is named to it.
BENCH_PICTURES := refine_pictures
BENCH_ALL := $(basename $(notdir $(wildcard benchmarks/*.py)))
BENCH := $(BENCH_FIRST) $(filter-out $(BENCH_FIRST) $(BENCH_PARTS) $(BENCH_PICTURES),$(BENCH_ALL))

bench: $(VENV)/.dev
	@failed=; for name in $(BENCH); do echo "== $$name"; \
		$(BIN)/python "benchmarks/$$name.py" || failed="$$failed $$name"; done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }
