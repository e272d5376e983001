# One word each. The environment is made on first use, in .venv, by any Python from 3.11 on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo hospitals test lint format bench chaos fuzz notebooks pictures docs clean

demo: $(VENV)/installed  ## 4 agents train on digits; their consensus against one model on the pooled data
	$(BIN)/python benchmarks/demo.py

hospitals: $(VENV)/developing  ## 8 sites through an outage, a crash and a liar, beside an undisturbed run; four minutes
	$(BIN)/python benchmarks/hospitals.py

# Bytecode is kept in any environment: hundreds of processes import the same files, and each worker all tests.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/developing  ## every test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: $(VENV)/developing  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/developing  ## make `make lint` happy where a machine can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/installed  ## each prints a ratio against a floor measured in the same run
	$(BIN)/python benchmarks/exchange.py
	$(BIN)/python benchmarks/overlap.py
	$(BIN)/python benchmarks/whole_job.py
	$(BIN)/python benchmarks/simulate.py
	$(BIN)/python benchmarks/population.py
	$(BIN)/python benchmarks/membership.py --agents 200
	$(BIN)/python benchmarks/private_step.py
	$(BIN)/python benchmarks/submodel.py --epochs 60

MINUTES ?= 10
SEEDS ?= 2000
chaos: $(VENV)/developing  ## seeded failures, virtual and real, into docs/reliability.md; SEED=N runs that schedule alone
ifdef SEED
	$(BIN)/python -m tests.chaos.schedules --seed $(SEED)
else
	$(BIN)/python -m tests.chaos.schedules --seeds $(SEEDS) --write
	$(BIN)/python -m tests.chaos.reliability --minutes $(MINUTES) --write
endif

FRAMES ?= 1000000
fuzz: $(VENV)/developing  ## any bytes into the wire and the core, guided by coverage; needs the extra [fuzz]
	$(BIN)/python -m tests.chaos.fuzz --frames $(FRAMES) --write

notebooks: $(VENV)/developing  ## run every notebook and keep its outputs
	$(BIN)/python docs/notebooks.py

pictures: $(VENV)/developing  ## draw the README's pictures again; those of the dashboard need chromium
	$(BIN)/python docs/pictures.py

docs: $(VENV)/developing  ## the documentation's site, into site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/developing: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:  ## remove what these targets made
	rm -rf $(VENV) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
