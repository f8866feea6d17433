# make            what there is
# make run        the first run: 300 guests against the embedded simulator, a verdict at the end
# make test       all tests but the long proofs

VENV     := .venv
BIN      := $(VENV)/bin
SCENARIO ?= locustfiles/scenarios/first-run.toml
ARGS     ?=
JOBS     ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup run test check prove bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.stamp ## make .venv with everything that is needed, at fixed versions

$(VENV)/.stamp: requirements.lock pyproject.toml
	@set -eu; \
	if ! $(BIN)/python -c 'import pip' >/dev/null 2>&1; then \
		found=; \
		for name in $${PYTHON:-python3 python3.13 python3.12 python3.11}; do \
			if "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then \
				found="$$name"; break; \
			fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "guestswarm needs Python 3.11, 3.12 or 3.13, and none was found; name one: make setup PYTHON=/path/to/python" >&2; \
			exit 1; \
		fi; \
		"$$found" -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## run a scenario (SCENARIO=file, ARGS="-u 50 -t 30s")
	@$(BIN)/guestswarm run $(SCENARIO) $(ARGS)

test: check ## lint, types, and all tests but the long proofs
	@# tests/swarm is a process of its own: gevent patches it, and xdist does not live under gevent. It mostly waits, so it runs beside.
	@log=$$(mktemp); \
	$(BIN)/python -m pytest -m "not prove" $(ARGS) tests/swarm >"$$log" 2>&1 & swarm=$$!; \
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not prove" --ignore tests/swarm $(ARGS) tests; pure=$$?; \
	wait $$swarm; shell=$$?; \
	echo "tests/swarm:"; cat "$$log"; rm -f "$$log"; \
	exit $$((pure ? pure : shell))

check: setup ## lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

prove: setup ## the long proofs, in parts that can be resumed (PART=name for one of them)
	@$(BIN)/python -m tests.proofs $(PART)

bench: setup ## baselines: our percentiles, the server's own record and plain Locust's, side by side
	@$(BIN)/python -m tests.bench.baselines $(ARGS)

clean: ## remove everything that was made, but the runs
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
