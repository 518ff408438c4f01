# What a person types is what the continuous integration runs.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
PY := $(VENV)/bin/python
# What the demo needs; and what every compiler and the tests need besides.
PACKAGES := torch torchvision timm numpy onnx onnxscript onnxruntime matplotlib rich
COMPILERS := openvino coremltools litert-torch executorch \
	tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings cuda-bindings
TABLES := pyarrow PyYAML
REPORTS := vl-convert-python
TOOLS := pytest hypothesis ruff mypy setuptools wheel

.PHONY: demo test check clean
.DELETE_ON_ERROR:

demo: $(VENV)/ready
	$(PY) profile.py demo --store .opclock -o opclock-demo.html

test: $(VENV)/complete
	$(PY) -m pytest

check: $(VENV)/complete
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest tests/test_imports.py

# torch and torchvision go into one command: a torchvision alone would bring another torch.
$(VENV)/ready: constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PACKAGES)
	touch $@

# The first packages are named again, so that no compiler brings another torch.
$(VENV)/complete: $(VENV)/ready
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		$(PACKAGES) $(COMPILERS) $(TABLES) $(REPORTS) $(TOOLS)
	touch $@

clean:
	rm -rf $(VENV) .opclock opclock-demo.html
