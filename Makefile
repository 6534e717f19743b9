# One verb a line of work; `make help` lists them.
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
RUN_DIRECTORY ?= .run
PORT ?= 8080
AGENT_PORT ?= 7765
N ?= 1000

# What needs no booted host, no cluster and no browser, and says most of what there is to say of an edit.
QUICK := tests/test_design.py tests/test_docs.py tests/contract tests/daemon tests/client/wire tests/client/actions \
	tests/client/test_sdk.py tests/client/cli/test_arguments.py tests/client/cli/test_cli.py tests/agent/journal \
	tests/agent/probing tests/agent/test_commands.py tests/management/model \
	tests/management/store tests/management/access tests/management/api/test_door.py \
	tests/management/api/test_storages.py tests/management/api/test_routes.py tests/management/jobs/test_jobs.py \
	tests/management/operations/test_turns.py tests/management/operations/test_debts.py

.PHONY: help setup run fleet check test test-long coverage lint images docs bench wheelhouse deb rpm dist clean

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

run: setup  ## management node and an agent over a local directory, until Ctrl-C; PORT=8080 AGENT_PORT=7765
	@exec $(PYTHON) -m bs_agent.client.cli.quickstart --directory '$(RUN_DIRECTORY)' --port $(PORT) --agent-port $(AGENT_PORT)

fleet: $(VENV)/.installed-dev  ## N=10000 simulated agents and a node that polls them, until Ctrl-C; FLEET='--dead 20%'
	@exec $(PYTHON) -m tests.fleet $(N) --directory $(RUN_DIRECTORY)/fleet $(FLEET)

check: $(VENV)/.installed-dev lint  ## what can be said of an edit in a minute and a half: no booted hosts, no clusters
	$(PYTHON) -m pytest -q -n 4 --dist worksteal $(QUICK)

test: $(VENV)/.installed-dev  ## everything that must hold
	@$(MAKE) --no-print-directory -j 2 --output-sync lint images
	$(PYTHON) -m pytest -m 'not long' -n 4 --dist loadgroup --no-loadscope-reorder --durations=25

coverage: $(VENV)/.installed-dev  ## the tests again, and which branches they take; half as long again
	$(PYTHON) -m pytest -m 'not long' -n 2 --dist loadgroup --no-loadscope-reorder --cov --cov-report=term:skip-covered

test-long: $(VENV)/.installed-dev  ## what takes too long for every change: deployments behind each firewall, Ceph 14, 18 and 20
	$(PYTHON) -m pytest -m long -n 2 --dist loadgroup --no-loadscope-reorder --durations=10

lint: $(VENV)/.installed-dev  ## ruff and mypy
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

images: $(VENV)/.installed-dev  ## the file systems that the tests boot, and run another Ceph in: made once on a machine
	$(PYTHON) -m tests.beds.images

docs: $(VENV)/.installed-dev  ## write the pages that derive from the code
	$(PYTHON) docs/generate.py
	WRITE_DOCS=1 $(PYTHON) -m pytest -q tests/client/cli/test_mistakes.py

bench: $(VENV)/.installed-dev  ## each figure beside its peer, its limit and its budget; BENCH='--quick --json FILE'
	@.ci/packages bench
	$(PYTHON) -m tests.bench $(BENCH)

wheelhouse: $(VENV)/.installed  ## dist/wheelhouse: what ansible/ installs on hosts without a network
	PYTHON=$(PYTHON) ansible/wheelhouse.sh

deb: wheelhouse  ## dist/deb: Debian packages of the agent, the management node and bs-cli
	@.ci/packages package
	$(PYTHON) systemd/packages/build.py deb --out dist/deb

rpm: wheelhouse  ## dist/rpm: the same as RPMs, for RHEL 9.4 and later
	@.ci/packages package
	$(PYTHON) systemd/packages/build.py rpm --out dist/rpm

dist: $(VENV)/.installed-dev deb rpm  ## dist: all that a release is, with SHA256SUMS and the list of what is in it (SBOM)
	$(PYTHON) systemd/packages/release.py --out dist

clean:  ## remove the virtual environment and the data of `make run`
	rm -rf $(VENV) $(RUN_DIRECTORY) build dist *.egg-info
