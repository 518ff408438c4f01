# What a person types is what the continuous integration runs.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
PY := $(VENV)/bin/python
PACKAGES := torch torchvision timm numpy onnx onnxscript onnxruntime openvino coremltools \
	litert-torch executorch tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings cuda-bindings \
	matplotlib rich pytest hypothesis ruff mypy setuptools wheel

.PHONY: demo test check clean
.DELETE_ON_ERROR:

demo: $(VENV)/ready
	$(PY) profile.py demo --store .opclock -o opclock-demo.html

test: $(VENV)/ready
	$(PY) -m pytest

check: $(VENV)/ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest tests/test_imports.py

# torch and torchvision go into one command: a torchvision alone would bring another torch.
$(VENV)/ready: constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PACKAGES)
	touch $@

clean:
	rm -rf $(VENV) .opclock opclock-demo.html
