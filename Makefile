# `make` lists the targets. Everything happens in .venv; nothing is installed outside this folder.

VENV := .venv
PYTHON := $(VENV)/bin/python
JOBS ?= 2
ARGS ?=
BENCHES ?= startup ps run plan terminal content lab

MEMBERS := . $(patsubst %/pyproject.toml,%,$(sort $(wildcard plugins/*/pyproject.toml)))
PROJECTS := $(MEMBERS:%=%/pyproject.toml)
DEMO_MEMBERS := . plugins/dstack-local plugins/provider-bash
editable = $(addprefix -e ./,$(1))
typed = @echo '$$ dstack $(1)'; cd examples/digits && "$(CURDIR)/$(VENV)/bin/dstack" $(1)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.developer ## Install core, every plugin and the developers' tools into .venv
	@echo "Ready: $(VENV)/bin/dstack"

demo: $(VENV)/.user ## Train the example's model; show its accuracy and its artifacts
	$(call typed,run train-digits -t digits)
	$(call typed,run bash --dep :digits -c "grep accuracy model/metrics.json")
	$(call typed,ls -r :digits)

test: $(VENV)/.developer ## Run all tests and checks; ARGS="-k plan" goes to pytest, JOBS=1 runs one at a time
	@$(PYTHON) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: $(VENV)/.developer ## Run the checks alone: ruff, its format, mypy, import-linter
	@$(PYTHON) -m pytest -q -n $(JOBS) tests/contract/test_lint.py $(ARGS)

bench: $(VENV)/.developer ## Measure, in minutes, figures beside their limits; ARGS=--full: at the sizes of those
	@failed=0; for script in $(BENCHES); do echo "bench/$$script.py"; $(PYTHON) bench/$$script.py $(ARGS) || failed=1; \
	done; exit $$failed

clean: ## Remove .venv and what the tools left
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# Each stamp is younger than every pyproject.toml that was installed, so the second time costs nothing.

$(VENV)/.developer: $(PROJECTS) $(VENV)/.python
	@echo "Installing dstack, its plugins and the developers' tools into $(VENV) ..."
	@$(PYTHON) -m pip install -q $(call editable,$(MEMBERS)) --group dev
	@touch $(VENV)/.user $@

$(VENV)/.user: $(DEMO_MEMBERS:%=%/pyproject.toml) $(VENV)/.python
	@echo "Installing dstack into $(VENV) ..."
	@$(PYTHON) -m pip install -q $(call editable,$(DEMO_MEMBERS))
	@touch $@

$(VENV)/.python:
	@found= partial=; for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || continue; \
	  "$$python" -c 'import ensurepip, venv' 2> /dev/null || { partial="$$python"; continue; }; \
	  found="$$python"; break; \
	done; \
	if [ -z "$$found" ] && [ -n "$$partial" ]; then \
	  echo "$$partial cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	elif [ -z "$$found" ]; then \
	  echo "dstack needs Python 3.10 or newer, and there is none on the PATH." >&2; exit 1; \
	fi; \
	"$$found" -m venv $(VENV) && $(PYTHON) -m pip install -q 'pip>=25.1'  # the first with --group
	@touch $@
