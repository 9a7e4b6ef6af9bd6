# Every command below sets up what it needs first (.venv, about a minute on a new machine).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PLOTTING := $(VENV)/.plotting

.DEFAULT_GOAL := help
.PHONY: help demo run test check format lock licences openapi bench load fuzz fuzz-bytes chaos mutants clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up $(VENV) ..."
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --clear --python "$$(command -v $(PYTHON))" $(VENV) && \
		uv pip install --quiet --python $(BIN)/python -r requirements-dev.txt; \
	else \
		$(PYTHON) -m venv --clear $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt; \
	fi
	@touch $@

demo: $(READY) ## Load sample_hospitals.csv into a local directory and show how it goes
	@$(BIN)/python -m scripts.demo

run: $(READY) ## Serve on http://127.0.0.1:8000 (PORT=8001) against HOSPITAL_API_BASE_URL
	@FORWARDED_ALLOW_IPS="$${FORWARDED_ALLOW_IPS:-}" $(BIN)/python -m uvicorn main:app --port $${PORT:-8000}

# Three at a time: most of them wait for servers. The tests of a file stay together, in this order:
# files of few tests would come last otherwise, and the longest are among them.
test: $(READY) ## Run all tests (7 minutes)
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

check: $(READY) ## Format, lint, types, import rules, image and compose file, then all tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/docker-compose --file docker-compose.yml config --quiet
	@$(MAKE) --no-print-directory test

format: $(READY) ## Format the code and mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Universal: one file for every Python from 3.11 on and every system. What is pinned stays pinned.
lock: $(READY) ## Pin requirements*.in in requirements*.txt, with hashes (UPGRADE=1: newest versions)
	@for name in requirements requirements-cli requirements-postgres requirements-dev requirements-bench; do \
		$(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-emit-find-links \
			--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
			$$name.in --output-file $$name.txt || exit 1; \
	done

licences: $(READY) ## Write docs/licences.md: under which licence each runtime dependency is
	@$(BIN)/python -m scripts.licences

openapi: $(READY) ## Write docs/openapi.json, unless a change breaks clients (BREAK=1 does all the same)
	@$(BIN)/python -m scripts.openapi_contract

fuzz-bytes: $(READY) ## Try many more files and broken uploads than the tests do (5 minutes)
	@$(BIN)/python -m pytest -q --hypothesis-profile=deep --hypothesis-show-statistics \
		tests/unit/test_csv_processor.py tests/e2e/test_hostile_uploads.py

$(PLOTTING): $(READY) requirements-bench.txt
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(BIN)/python -r requirements-bench.txt; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt; \
	fi
	@touch $@

# What it found is shown also when an aim is missed (3).
bench: $(READY) $(PLOTTING) ## Measure everything against its floor, and write docs/performance.md (10 minutes)
	@$(BIN)/python -m benchmarks; status=$$?; \
		case $$status in 0 | 3) $(BIN)/python -m benchmarks.drawing && exit $$status;; *) exit $$status;; esac

load: $(READY) ## Put 200 uploads and 100 followers on the service at once, round after round (2 minutes)
	@$(BIN)/python -m benchmarks.load

fuzz: $(READY) ## Send random requests to the running service (4 minutes); FUZZ_SEED=n sends those of a run again
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-200} $(BIN)/python -m pytest -q -s tests/e2e/test_api_fuzz.py

HISTORIES ?= 1000
chaos: $(READY) ## Break everything at random, 5 minutes and 1000 histories (MINUTES=20 SEED=7 HISTORIES=9); PROCESSES=3: several on a database, no histories
	@$(if $(PROCESSES),,HISTORIES=$(HISTORIES) $(BIN)/python -m pytest -q tests/integration/test_histories.py \
		$(if $(SEED),--hypothesis-seed=$(SEED)))
	@$(BIN)/python -m chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(PROCESSES),--processes $(PROCESSES))

mutants: $(READY) ## Put mistakes into a copy of the service and see a test find each of them (2 minutes)
	@$(BIN)/python -m tests.mutants

clean: ## Remove the virtual environment and caches (never batch_storage)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
