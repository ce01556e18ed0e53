# One command for each thing. `make run` is where to start.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest
BINDINGS := build/tensorrt
MODELOPT := build/modelopt
UNPACK = $(BIN)/python -m pip install -q --no-deps --only-binary :all: --target $(BINDINGS)
ROOT := $(if $(filter 0,$(shell id -u)),,sudo -n)

.DEFAULT_GOAL := help
.PHONY: help install setup-ui run serve test test-slow test-tensorrt test-modelopt test-docker fuzz check bench screenshots clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

# The stamp is older than either file exactly when something must be installed.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

install: $(VENV)/.installed  ## make .venv and install into it

setup-ui:  ## install Debian's Chromium, which the browser tests drive (asks for root)
	command -v chromium >/dev/null || $(ROOT) sh -c 'apt-get update -q && apt-get install -y -q --no-install-recommends chromium'

run: install  ## the full flow on this machine; ends with the decision table and the report's path
	$(BIN)/cxr run --profile $(or $(PROFILE),quick) $(ARGS)

serve: install  ## Prefect server, deployments and worker; the flow can then be started in a browser
	$(BIN)/cxr serve

test: install  ## every test that is quick
	$(PYTEST) -q -n 2 --dist worksteal -m 'not slow'

test-slow: install  ## the long ones
	$(PYTEST) -q -n 2 --dist worksteal -m slow

fuzz: install  ## every reader of bytes from disk under atheris, FUZZ_SECONDS (20) each; installs it
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(or $(FUZZ_SECONDS),20) $(ARGS)

test-tensorrt: install $(BINDINGS)/.complete  ## what we use of TensorRT and CUDA exists in the real bindings (PyPI; no GPU)
	$(PYTEST) -q tests/conformance/test_conformance.py

# Bindings only, side by side and outside of the environment: NVIDIA's libraries are not on PyPI, and not needed for this.
$(BINDINGS)/.complete: Makefile
	rm -rf $(BINDINGS)
	$(UNPACK)/10.12.0.36 tensorrt-cu12-bindings==10.12.0.36
	$(UNPACK)/10.16.1.11 tensorrt-cu13-bindings==10.16.1.11
	$(UNPACK)/11.4.0.106 tensorrt-cu13-bindings==11.4.0.106
	$(UNPACK)/13.0.3 cuda-bindings==13.0.3
	$(UNPACK)/nvml nvidia-ml-py==13.615.71
	touch $@

test-modelopt: install $(MODELOPT)/.complete  ## our Q/DQ placement beside that of NVIDIA's ModelOpt (PyPI, 220 MB; no GPU)
	$(PYTEST) -q tests/conformance/test_modelopt.py

# Outside of the environment: it wants other versions of onnx and onnxruntime, and patches the latter.
$(MODELOPT)/.complete: Makefile
	rm -rf $(MODELOPT)
	$(BIN)/python -m pip install -q --no-deps --target $(MODELOPT) nvidia-modelopt==0.47.0 onnx==1.21.0 onnxruntime==1.24.4 \
	  onnx-graphsurgeon==0.6.1 onnxconverter-common==1.16.0 onnxslim==0.1.98 polygraphy==0.53.6 lief==1.0.0 \
	  omegaconf==2.4.0 antlr4-python3-runtime==4.9.3 pulp==3.3.2 nvidia-ml-py==13.615.71 ninja==1.13.2 \
	  regex==2026.11.19 cppimport==26.4.17 mako==1.4.3 pybind11==3.1.0
	touch $@

test-docker: install  ## the steps of each image in a plain Debian root, minutes; needs root and Debian's packages
	command -v debootstrap >/dev/null || $(ROOT) sh -c 'apt-get update -q && apt-get install -y -q --no-install-recommends debootstrap'
	$(ROOT) env CXR_PLAIN_DEBIAN=1 PYTHONDONTWRITEBYTECODE=1 $(PYTEST) -q -p no:cacheprovider tests/docker/test_install.py

check: install  ## ruff, mypy, import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install  ## measured ratios, both sides interleaved in one run; installs the other sides
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

screenshots: install setup-ui  ## pictures of the UI for docs/images
	CXR_SCREENSHOTS=docs/images $(PYTEST) -q tests/ui

clean:  ## remove the environment and caches; the store in .cxr stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
