# Everything runs in one environment, .venv: the locked releases plus this tree in editable mode.
# Another interpreter, for example `make test PYTHON=python3.12`, replaces it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed-$(notdir $(PYTHON))
# Apache Beam wants an older protobuf than the rest is tested with.
BEAM_VENV := .venv-beam
BEAM_INSTALLED := $(BEAM_VENV)/.installed-$(notdir $(PYTHON))
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# What is imported is compiled then, of 13,500 files the smaller part.
LOCKED := --use-pep517 --require-hashes --no-compile

# At level 2 TensorFlow still reports a missing GPU driver as an error.
export TF_CPP_MIN_LOG_LEVEL ?= 3
# Else each process that a test starts compiles the package again, which takes longer than most do.
export PYTHONDONTWRITEBYTECODE =

define CHECK_PYTHON
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit("keras_distill needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is %d.%d: "
             "name another, as in `make PYTHON=python3.11 ...`." % sys.version_info[:2])
try:
    import ensurepip
except ImportError:
    sys.exit("$(PYTHON) cannot create virtual environments yet: apt-get install python3-venv")
endef
export CHECK_PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test coverage slow beam mutants lint format benchmark lock clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## See a small network learn from a large one
	@$(BIN)/python -m keras_distill.demo

test: lint ## Check style and types, run the quick tests
	$(BIN)/python -m pytest -n 2 --dist=worksteal

coverage: $(INSTALLED) ## Run the quick tests, and tell which lines they do not run
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist=worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --show-missing --skip-covered --sort=miss

slow: $(INSTALLED) ## Run the slow tests and those on photographs
	$(BIN)/python -m pytest -n 2 --dist=worksteal -m "slow or photographs"

beam: $(BEAM_INSTALLED) ## Run the tests of Apache Beam, in an environment of their own
	$(BEAM_VENV)/bin/python -m pytest -m beam tests/commands/test_embed_beam.py

mutants: $(INSTALLED) ## Plant faults for MINUTES (15), and count those that the tests see
	$(BIN)/python tests/mutants.py --minutes=$(or $(MINUTES),15)

lint: $(INSTALLED) ## Check style and types only
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## Put the source into the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

benchmark: $(INSTALLED) ## Measure every claim in benchmarks/
	$(BIN)/python benchmarks/class_sampler.py
	$(BIN)/python benchmarks/efficient_siamese.py
	$(BIN)/python benchmarks/label_losses.py
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/teacher_speed.py
	$(BIN)/python benchmarks/retrieval.py
	$(BIN)/python benchmarks/word_search.py
	$(BIN)/python benchmarks/serving.py

lock: ## Fit the lock files to setup.py (delete them first to upgrade everything)
	@set -e; tools=$$(mktemp -d); trap 'rm -rf $$tools' EXIT; \
	$(PYTHON) -m venv $$tools; $$tools/bin/python -m pip -qq install uv; \
	compile="$$tools/bin/uv pip compile --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-annotate --no-header --no-emit-index-url"; \
	$$compile setup.py --extra dev --output-file requirements.lock; \
	printf '%s\n' 'hypothesis>=6.100' 'pytest>=8.2' | \
	    $$compile setup.py - --extra beam --output-file requirements-beam.lock; \
	for file in requirements.lock requirements-beam.lock; do \
	    $$tools/bin/python -m pip install -qq --dry-run --require-hashes -r $$file; done

clean: ## Remove the environment and everything generated
	rm -rf $(VENV) $(BEAM_VENV) build dist *.egg-info .coverage .coverage.* .hypothesis .mutants .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock setup.py
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@echo "Installing into $(VENV), once: about 2.6 GB and a few minutes."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install $(LOCKED) -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(BIN)/python -c "import keras"
	@touch $@

$(BEAM_INSTALLED): requirements-beam.lock setup.py
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@echo "Installing into $(BEAM_VENV), once: about 3 GB and a few minutes."
	@$(PYTHON) -m venv --clear $(BEAM_VENV)
	@$(BEAM_VENV)/bin/python -m pip -qq --disable-pip-version-check install $(LOCKED) \
	    -r requirements-beam.lock
	@$(BEAM_VENV)/bin/python -m pip -qq --disable-pip-version-check install --no-deps \
	    --no-build-isolation -e .
	@touch $@
