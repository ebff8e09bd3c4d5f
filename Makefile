# Two commands matter: `make demo` and `make test`. Both need only python3 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow lint format clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch || \
	  $(BIN)/python -m pip install --quiet torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,dashboard]'
	touch $(STAMP)

# Two half maps of a particle whose four quadrants fade at different resolutions, and what distres
# says of them. Everything lands in demo/, which is made anew each time.
demo: $(STAMP)
	rm -rf demo
	$(BIN)/distres phantom blob --shape 128 --seed 1 -o demo/input
	$(BIN)/distres localfsc demo/input/blob_half1.mrc -o demo/localfsc --workers 2

test: $(STAMP)
	$(BIN)/python -m pytest -m 'not slow'

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache
