PYTHON ?= python3
BIN := .venv/bin
DATA ?= $(or $(MNEMOTOMY_DATA),../shared/data)
MODEL ?= ../shared/models/tofu-tiny/full
SCALE ?= small
JOBS ?= 2
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
BASE := .venv/.base
STAMP := .venv/.installed
DOCS := .venv/.docs

.PHONY: demo test test-all bench bench-vision lint format build docs docs-tables clean

demo: $(BASE)            ## erase digits from a classifier and cities from SmolLM2, write runs/demo/report.html
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

build: $(STAMP)          ## the wheel and the source archive, in dist/
	$(BIN)/python -m hatchling build

docs: $(DOCS)            ## the documentation as a site that loads nothing from outside, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --site-dir build/site

docs-tables: $(STAMP)    ## the tables of README.md and docs/results/*.md, from docs/results/*.json
	$(BIN)/mnemotomy bench tables

clean:
	rm -rf .venv runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# torch is pinned by constraints.txt, so that no later build with gigabytes of libraries is taken instead
$(BASE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[gguf]'
	touch $@

$(DOCS): $(BASE)
	$(PIP) --editable '.[docs]'
	touch $@

$(STAMP): $(BASE) experiments/pyproject.toml tests/oracles.txt
	$(PIP) --editable '.[dev]' --editable experiments
	$(PIP) --no-deps --requirement tests/oracles.txt
	touch $@
