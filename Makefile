PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BUILT_FROM := pyproject.toml constraints.txt $(wildcard src/sparsernn/native/*.cpp src/sparsernn/native/*.h) \
	$(wildcard src/sparsernn/native/kernels/*.cpp src/sparsernn/native/kernels/*.h src/sparsernn/native/kernels/*/*.h) \
	src/sparsernn/native/CMakeLists.txt

.PHONY: demo sanitize test

demo: $(VENV)/train.installed
	$(VENV)/bin/sparsernn run quickstart

test: $(VENV)/test.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n $(WORKERS)

sanitize: $(VENV)/test.installed
	$(VENV)/bin/python tests/native/sanitized.py build/sanitized

$(VENV)/%.installed: $(BUILT_FROM)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("sparsernn needs Python 3.11 or newer; make PYTHON=python3.12 ... picks another one")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@
