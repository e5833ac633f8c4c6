# make run    sets everything up, then runs the demo
# make quick  style, types, imports and the tests that take no time: while you work
# make test   sets everything up, then runs all that a change must pass
# make test-all  that, and then what takes longest: every fault on both logs, 10,000 simulated runs
# make wheel  builds dist/headgate-VERSION-py3-none-any.whl, which is what is installed elsewhere
# make changelog  shows what has changed since the last release; VERSION=0.2.0 makes its section
# make soak   breaks the running gateway again and again, for MINUTES=10 on each log
.DEFAULT_GOAL := help
.PHONY: help run quick test test-all suite thorough wheel soak check lint format services lock changelog clean

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
# own jars from Maven Central, and other people's Sparkplug nodes. Fetched before the tests, whose time
# is limited.
services: $(VENV)/.ready
	@sh tests/services.sh
	@$(BIN)/python -m tests.kafka.jars >/dev/null || echo "The tests that need Kafka will be skipped."
	@$(BIN)/python -m tests.sparkplug.environment >/dev/null || echo "The tests that need pysparkplug will be skipped."

# Three speeds. What needs no service comes first, side by side; then tests with real services, which
# mostly wait, and those that break things; then the simulation, by itself: beside others that are
# started all the time it takes three times as long. Its stories have two processes of their own.
# What needs the processor keeps two busy; what mostly waits goes four at a time.
ALONE := tests/integration/test_detection_quality.py tests/faults/power tests/unit
PYTEST := $(BIN)/python -m pytest --dist worksteal -q
BUSY := $(PYTEST) -n 2
WAITING := $(PYTEST) -n 4
quick: check
	@$(BUSY) tests/unit -m "not slow and not thorough"

test: $(VENV)/.ready
	@$(MAKE) --no-print-directory -j 2 services check
	@$(call on_the_wheel,suite)

test-all: test
	@sh tests/pythons.sh $(BIN)/python
	@$(call on_the_wheel,thorough)

# What is tested is the wheel, as it is installed elsewhere: Python finds it before the source.
on_the_wheel = installed=$$(sh tests/wheel.sh $(BIN)/python) && \
	$(MAKE) --no-print-directory $(1) INSTALLED="$$installed"
suite thorough: export PYTHONPATH = $(INSTALLED)
suite thorough: export PYTHONSAFEPATH = 1
suite thorough: export HEADGATE_TEST_INSTALLED = $(INSTALLED)
suite:
	@$(BUSY) $(ALONE) -m "not thorough"
	@$(WAITING) $(addprefix --ignore ,tests/simulation $(ALONE)) -m "not thorough"
	@$(BUSY) tests/simulation

# What make test leaves out, and properties again with all of their examples; stories of the simulation
# besides those of make test.
STORIES ?= 9600
thorough: export HEADGATE_TEST_THOROUGH = 1
thorough:
	@$(BUSY) $(ALONE) -m "thorough or examples"
	@$(WAITING) $(addprefix --ignore ,tests/simulation $(ALONE)) -m "thorough or examples"
	@$(BIN)/python -m tests.simulation --first 400 --seeds $(STORIES)

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

# Put the files of changelog.d together. Without VERSION it shows what would stand in CHANGELOG.md.
changelog: $(VENV)/.ready
	@$(BIN)/python -m towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft --version next)

# Renew the locks from pyproject.toml: everything, and for the image what a gateway needs. With
# UPGRADE= what is locked already stays as it is.
UPGRADE ?= --upgrade
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command 'make lock'
lock: $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/$(COMPILE) $(UPGRADE) --all-extras -o requirements.lock pyproject.toml
	@$(BIN)/$(COMPILE) -c requirements.lock -o deploy/image/gateway.lock pyproject.toml

clean:
	@rm -rf $(VENV) .venv-* build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
