# make run    sets everything up, then runs the demo
# make test   sets everything up, then runs the checks and the tests
# make wheel  builds dist/headgate-VERSION-py3-none-any.whl, which is what is installed elsewhere
# make soak   breaks the running gateway again and again, for MINUTES=10 on each log
.DEFAULT_GOAL := help
.PHONY: help run test suite wheel soak check lint format services lock clean

PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# Not to be set from outside: the folder is emptied when the environment is made anew.
override VENV := .venv
BIN := $(VENV)/bin

help:
	@sed -n 's/^# make/make/p' Makefile

# The environment, made anew when what it is made from changes.
$(VENV)/.ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Headgate needs Python 3.11 or later; none was found. Install one, or name it: make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module; on Debian: apt-get install python3-venv"; exit 2; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(VENV)/.ready
	@$(BIN)/headgate demo

wheel: $(VENV)/.ready
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	@ls dist/headgate-*.whl

# The tests' real services, where they can be had: mosquitto and VictoriaMetrics from Debian, Kafka's
# own jars from Maven Central. Fetched before the tests, whose time is limited.
services: $(VENV)/.ready
	@sh tests/services.sh
	@$(BIN)/python -m tests.kafka.jars >/dev/null || echo "The tests that need Kafka will be skipped."

# What needs no service side by side; then tests with real services, which mostly wait, one after the
# other, and those that break things two at a time, with the simulation in the time that they leave.
ALONE := tests/integration/test_detection_quality.py tests/faults/power tests/unit
PYTEST := $(BIN)/python -m pytest
test: $(VENV)/.ready
	@$(MAKE) --no-print-directory -j 2 services check
	@installed=$$(sh tests/wheel.sh $(BIN)/python) && \
	$(MAKE) --no-print-directory suite INSTALLED="$$installed"

# What is tested is the wheel, as it is installed elsewhere: Python finds it before the source.
suite: export PYTHONPATH = $(INSTALLED)
suite: export PYTHONSAFEPATH = 1
suite: export HEADGATE_TEST_INSTALLED = $(INSTALLED)
suite:
	@$(PYTEST) $(ALONE) -n 2 --dist worksteal -q
	@log=$$(mktemp); nice -n 19 $(PYTEST) tests/simulation >$$log 2>&1 & simulation=$$!; \
	trap 'kill $$simulation 2>/dev/null; exit 130' INT TERM; code=0; \
	$(PYTEST) $(addprefix --ignore ,tests/simulation tests/faults $(ALONE)) || code=$$?; \
	$(PYTEST) tests/faults --ignore tests/faults/power -n 2 --dist worksteal || code=$$?; \
	wait $$simulation || code=1; cat $$log; rm -f $$log; exit $$code

# Break the gateway for MINUTES on each log: kills, and peers that come and go. Not part of the tests.
MINUTES ?= 10
soak: $(VENV)/.ready services
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --log sqlite
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --log kafka

# What needs no running service: style, types, and who may import whom.
check: $(VENV)/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.ready
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Renew the locks from pyproject.toml: everything, and for the image what a gateway needs.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command 'make lock'
lock: $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/$(COMPILE) --upgrade --all-extras -o requirements.lock pyproject.toml
	@$(BIN)/$(COMPILE) -c requirements.lock -o deploy/image/gateway.lock pyproject.toml

clean:
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
