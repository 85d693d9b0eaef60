# kwc: `make help` lists what there is.

PYTHON ?= python3.11
JOBS ?= 2
COUNT ?= 100000
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all coverage faults fuzz lint format bench bench-coding bench-memory bench-deploy bench-sweeps tensorboard

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

quickstart: $(INSTALLED)  ## Train, compress and compare small models on real data (8 minutes)
	$(BIN)/python -m experiments.prepare_data --dataset=mnist_5k
	$(BIN)/kwc sweep run gin_configs/sweeps/quickstart.gin

test: $(INSTALLED)  ## Run the tests, without the slow ones
	$(BIN)/python -m pytest -n $(JOBS) -m 'not slow'

test-all: $(INSTALLED)  ## Run all tests, and the coverage of every experiment (3 hours)
	$(BIN)/python -m pytest -n $(JOBS)
	$(MAKE) coverage

coverage: $(INSTALLED)  ## Compress every experiment of Model Garden; writes results/coverage.csv (105 minutes)
	$(BIN)/python -m experiments.coverage --output=results/coverage.csv

faults: $(INSTALLED)  ## Break everything under a sweep on a Ray cluster; writes results/fault_run.md
	$(BIN)/python tests/fault_run.py --output=results/fault_run.md

fuzz: $(INSTALLED)  ## Read mutated artifacts, COUNT=100000; writes results/fuzz.csv (15 minutes)
	$(BIN)/python tests/fuzz_artifact.py --count=$(COUNT) --output=results/fuzz.csv

lint: $(INSTALLED)  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)  ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## Measure train steps against the plain model; writes results/step_time.csv
	$(BIN)/python -m experiments.prepare_data --dataset=mnist_5k
	$(BIN)/python -m experiments.prepare_data --dataset=movie_sentences
	$(BIN)/python -m benchmarks.step_time --output=results/step_time.csv
	$(BIN)/python -m benchmarks.step_time --arch=resnet50 --arch=bert_base --steps=1 --rounds=5 \
		--output=results/step_time_full_size.csv
	$(BIN)/python -m benchmarks.step_time --arch=lenet5 --arch=resnet18 --steps=5 --traces=1 \
		--algorithm=epr --algorithm=fast_epr --algorithm=lilnetx --algorithm=entropy_constrained \
		--output=results/step_time_penalties.csv

bench-coding: $(INSTALLED)  ## Measure bytes and speed of coders on the same arrays; writes results/coding.csv
	$(BIN)/python -m benchmarks.coding --output=results/coding.csv

bench-memory: $(INSTALLED)  ## Measure the memory of artifacts of BERT-base
	$(BIN)/python -m benchmarks.artifact_memory --output=results/artifact_memory.csv

bench-deploy: $(INSTALLED)  ## Measure exported files against dense ones; writes results/deploy.csv (15 minutes)
	$(BIN)/python -m benchmarks.deploy --output=results/deploy.csv --document=docs/deploy.md

bench-sweeps: $(INSTALLED)  ## Measure sweeps against train.py, and the launcher over 10,000 trials
	$(BIN)/python -m experiments.prepare_data --dataset=mnist_5k
	$(BIN)/python -m benchmarks.sweep_throughput --output=results/sweep_throughput.csv
	$(BIN)/python -m benchmarks.launcher --output=results/launcher.csv

tensorboard: $(INSTALLED)  ## Look at the runs in TensorBoard
	$(BIN)/tensorboard --logdir=runs
