# Everything runs in $(VENV), which the first target that needs it sets up.
PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
# A step leaves a stamp, named after the content of the files that it depends on. The stamps lie
# inside the environment: without it, there are none.
STAMPS := $(VENV)/.setup
PACKAGE_KEY := $(shell cat setup.py pyproject.toml | cksum | tr ' ' -)
DETECTRON2_KEY := $(shell cat tools/install_detectron2.py tools/_detectron2_installer/*.py \
	| cksum | tr ' ' -)
PACKAGE_STAMP := $(STAMPS)/package-$(PACKAGE_KEY)
DETECTRON2_STAMP := $(STAMPS)/detectron2-$(DETECTRON2_KEY)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test test-slow lint clean

help:
	@echo "make setup      the environment $(VENV): torch, this package, Detectron2"
	@echo "make demo       train, evaluate and explain a small model; results in output/demo"
	@echo "make test       all tests but the slow ones"
	@echo "make test-slow  the slow tests"
	@echo "make lint       ruff: rules and format"
	@echo "make clean      removes what was built; keeps $(VENV), data sets and output"
	@echo "PYTHON=python3.12 and VENV=folder choose another Python and another environment"

setup: $(DETECTRON2_STAMP)
	@echo "setup: $(VENV) is ready"

$(STAMPS)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "error: $(PYTHON) is no Python 3.10 or newer: name one, make PYTHON=python3.12" >&2; \
		exit 2; }
	@echo "setup 1/4: environment $(VENV) ($$($(PYTHON) --version))"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); \
		echo "error: $(PYTHON) cannot make an environment: install its venv module" \
			"(python3-venv on Debian and Ubuntu)" >&2; \
		exit 2; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/torch: $(STAMPS)/python
	@echo "setup 2/4: torch and torchvision (a large download, some minutes)"
	@$(BIN)/python -m pip install --quiet torch torchvision
	@touch $@

$(PACKAGE_STAMP): $(STAMPS)/torch
	@echo "setup 3/4: this package with what its tests need"
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@rm -f $(STAMPS)/package-* && touch $@

$(DETECTRON2_STAMP): $(PACKAGE_STAMP)
	@echo "setup 4/4: Detectron2"
	@$(BIN)/python tools/install_detectron2.py
	@rm -f $(STAMPS)/detectron2-* && touch $@

demo: setup
	$(BIN)/python tools/run_demo.py

test: setup
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
