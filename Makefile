# Everything a person does here, by name. `make help` lists it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OTHERS := .cache/interop
VLLM   := .cache/vllm
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help install eval serve openclaw live interop vllm loggers browser site reference check format test bench bench-smoke

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[local,dev]'
	@touch $@

install: $(BIN)/.installed  ## make .venv with everything in it

eval: install  ## run the harness: make eval ARGS="'preferences=[concise]' num_steps=20"
	$(BIN)/python -m claas.eval $(ARGS)

serve: install  ## start the API on 127.0.0.1:8080: make serve ARGS="port=8081"
	$(BIN)/python -m claas.api $(ARGS)

openclaw: install  ## an OpenClaw gateway in front of the API: make openclaw ARGS="--release 2026.9.6"
	$(BIN)/python -m claas.openclaw $(ARGS)

live: install  ## the tests against real peers, installed for them: lm-evaluation-harness, OpenClaw, rows and a model
	$(BIN)/pip install -q -c constraints.txt -e '.[local,dev,live]'
	$(BIN)/python -m claas.openclaw --install-only
	$(BIN)/python -m pytest -m live $(ARGS)

$(OTHERS)/%/.installed: configs/bench/interop/%/requirements.txt
	$(PYTHON) -m venv $(OTHERS)/$*
	$(OTHERS)/$*/bin/pip install -q -r $<
	@touch $@

interop: install $(OTHERS)/lighteval/.installed $(OTHERS)/helm/.installed $(OTHERS)/sky/.installed  ## lighteval, HELM and SkyPilot, each installed for itself, with our API
	$(BIN)/python -m pytest -m live tests/live/test_interop.py $(ARGS)

$(VLLM)/.installed: configs/vllm/install.sh configs/vllm/requirements.txt
	PYTHON=$(PYTHON) sh $< $(VLLM)
	@touch $@

vllm: install $(VLLM)/.installed  ## the tests against vLLM on a CPU, installed for itself
	CLAAS_VLLM_COMMAND=$(VLLM)/bin/vllm $(BIN)/python -m pytest -m vllm $(ARGS)

loggers: install  ## the tests of experiment loggers, with the packages of the services in an environment of their own
	$(PYTHON) -m venv .cache/loggers
	.cache/loggers/bin/pip install -q -e '.[dev,loggers]'
	.cache/loggers/bin/python -m pytest -m loggers $(ARGS)

browser: install  ## the tests of the pages in headless Chromium, which has to be installed
	$(BIN)/pip install -q -c constraints.txt -e '.[local,dev,browser]'
	$(BIN)/python -m pytest -m browser $(ARGS)

site: install  ## these pages as a site in .cache/site, which opens from disk
	$(BIN)/pip install -q -c constraints.txt -e '.[local,dev,docs]'
	$(BIN)/python -m mkdocs build --strict $(ARGS)

test: install  ## the default test suite
	$(BIN)/python -m pytest -n 2 $(ARGS)

reference: install  ## write docs/reference.md and configs/schema anew from what the code says of itself
	$(BIN)/python -m docs.reference && $(BIN)/python -m docs.schema

check: install  ## format, lint, types and tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -n 2

format: install  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install  ## speed, memory and learning, printed as ratios
	$(BIN)/python -m benchmarks

bench-smoke: install  ## a minute of standard benchmarks, on rows of our own: does everything work?
	$(BIN)/python -m claas.bench suite=smoke datasets_dir=tests/benchmarks/hub output_dir=results/smoke resume=false $(ARGS)
