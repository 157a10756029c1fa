PYTHON ?= python3
BIN := .venv/bin
DATA ?= $(or $(MNEMOTOMY_DATA),../shared/data)
MODEL ?= ../shared/models/tofu-tiny/full
SCALE ?= small
JOBS ?= 2
STAMP := .venv/.installed

.PHONY: demo test test-all bench bench-vision lint format clean

demo: $(STAMP)           ## train two small models, erase from them, write runs/demo/report.html
	$(BIN)/mnemotomy demo

test: $(STAMP)           ## the fast tests
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(STAMP)       ## every test
	$(BIN)/python -m pytest -n 2

bench: $(STAMP)          ## speed and memory beside the reference implementation; the evaluation of MODEL on TOFU in DATA
	$(BIN)/mnemotomy bench speed --out runs/bench/speed.json
ifneq ($(wildcard $(MODEL)/config.json),)
	$(BIN)/mnemotomy bench tofu speed $(MODEL) --data $(DATA)/tofu --json runs/bench/tofu-speed.json
endif

bench-vision: $(STAMP)   ## every table and figure of class-wise and generative unlearning, at SCALE, by JOBS processes
	$(BIN)/mnemotomy bench classwise --scale $(SCALE) --jobs $(JOBS) --data $(DATA)
	$(BIN)/mnemotomy bench generative --scale $(SCALE) --jobs $(JOBS) --data $(DATA)

lint: $(STAMP)           ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

# torch is pinned by constraints.txt, so that no later build with gigabytes of libraries is taken instead
$(STAMP): pyproject.toml experiments/pyproject.toml constraints.txt tests/oracles.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' --editable experiments
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps --requirement tests/oracles.txt
	touch $@
