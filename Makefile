# One verb a line of work; `make help` lists them.
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
RUN_DIRECTORY ?= .run

.PHONY: help setup run test test-long lint docs bench wheelhouse deb clean

help:  ## list these verbs
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(VENV)/.installed  ## make .venv with bs-agent, bs-management and bs-cli

$(VENV)/.installed: setup.cfg pyproject.toml
	@.ci/packages run
	@[ -x $(PYTHON) ] || python3 -m venv $(VENV)
	@echo "Installing bs-agent into $(VENV) ..."
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[agent,management,cli]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@.ci/packages test
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: setup  ## management node and an agent over a local directory, until Ctrl-C
	@exec $(PYTHON) -m bs_agent.client.cli.quickstart --directory $(RUN_DIRECTORY)

test: $(VENV)/.installed-dev lint  ## everything that must hold
	$(PYTHON) -m pytest -m 'not long' -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered --durations=15

test-long: $(VENV)/.installed-dev  ## what takes too long for every change: deployments behind each firewall
	$(PYTHON) -m pytest -m long

lint: $(VENV)/.installed-dev  ## ruff and mypy
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

docs: $(VENV)/.installed-dev  ## write the pages that derive from the code
	$(PYTHON) docs/generate.py

bench: $(VENV)/.installed-dev  ## medians and ratios beside the peers and the limits
	$(PYTHON) -m tests.bench

wheelhouse: $(VENV)/.installed  ## dist/wheelhouse: what ansible/ installs on hosts without a network
	PYTHON=$(PYTHON) ansible/wheelhouse.sh

deb: $(VENV)/.installed  ## dist/deb: Debian packages of the agent and of the management node
	PYTHON=$(PYTHON) systemd/deb/build.sh

clean:  ## remove the virtual environment and the data of `make run`
	rm -rf $(VENV) $(RUN_DIRECTORY) build dist *.egg-info
