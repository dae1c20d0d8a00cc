# Every command exists once, here; people, CI and the documentation call the same ones.
# The lock is hashed and holds no index address; uv itself is the only package installed without it.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
UV_VERSION := 0.13.9
READY := $(VENV)/.ready
export SHOP SCALE SEED DATA
SHOP ?= retail
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(READY) ## install the locked packages into .venv

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "python: not found; install Python 3.11, 3.12 or 3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "$(PYTHON): this Python is not 3.11 to 3.13; name another with make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q "uv==$(UV_VERSION)"; }
	@$(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode --no-deps --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --editable .
	@touch $(READY)

.PHONY: run
run: $(READY) ## run the whole way once: servers, shop, lake, warehouse, metrics (SHOP, SCALE, SEED, DATA)
	@$(BIN)/watershed run

.PHONY: ui
ui: $(READY) ## Dagster's web UI on http://127.0.0.1:3000
	@$(BIN)/watershed ui

.PHONY: sql
sql: $(READY) ## an SQL prompt on the published warehouse, read-only
	@$(BIN)/watershed sql

.PHONY: status
status: $(READY) ## every table's rows, freshness and last load
	@$(BIN)/watershed status

.PHONY: diff
diff: $(READY) ## what this change does to the marts, against BASE (a branch) or OLD (a published file or its address); FORMAT
	@$(BIN)/watershed diff $(if $(OLD),"$(OLD)" build,--branch "$(or $(BASE),origin/main)") --format $(or $(FORMAT),table)

.PHONY: docs
docs: $(READY) ## dbt docs and expectation results as static pages
	@$(BIN)/watershed docs

.PHONY: down
down: $(READY) ## stop the local servers; data stays
	@$(BIN)/watershed down

.PHONY: check
check: $(READY) ## lint, types, import rules, SQL format, generated files, Dagster definitions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/sqlfmt --check --quiet dbt_project
	@$(BIN)/watershed generate --check
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python docs/type_matrix.py --check
	@$(BIN)/python docs/type_matrix_mysql.py --check
	@VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/dg check defs

.PHONY: test
test: check ## everything CI runs: check, then all tests on real servers
	@$(BIN)/watershed up all
	@$(BIN)/python -m pytest -n 2 --dist loadscope

.PHONY: format
format: $(READY) ## format Python and SQL
	@$(BIN)/ruff format -q . && $(BIN)/ruff check --fix-only -q . && $(BIN)/sqlfmt --quiet dbt_project

.PHONY: generate
generate: $(READY) ## write the files that follow from the source files (dbt sources, JSON Schemas)
	@$(BIN)/watershed generate

.PHONY: bench
bench: $(READY) ## seconds and memory of the whole job at SCALE 1 and 10, and the share of orchestration
	@$(BIN)/python -m benchmarks.whole_job

.PHONY: bench-extract
bench-extract: $(READY) ## extraction beside DuckDB's scanner, ConnectorX, ADBC, dlt, Sling, ingestr (SF, ROUNDS, ONLY)
	@$(BIN)/watershed up all
	@$(BIN)/python -m benchmarks.extract --sf $(or $(SF),1) --rounds $(or $(ROUNDS),3) --only "$(ONLY)"

.PHONY: bench-bookkeeping
bench-bookkeeping: $(READY) ## what Dagster's records of 12,000 days cost, beside its stock storage
	@$(BIN)/python -m benchmarks.bookkeeping

.PHONY: bench-lake
bench-lake: $(READY) ## the lake beside plain Parquet files of the same rows (ROWS, ROUNDS, ONLY)
	@$(BIN)/watershed up s3
	@$(BIN)/python -m benchmarks.lake --rows $(or $(ROWS),10000000) --rounds $(or $(ROUNDS),3) --only "$(ONLY)"

.PHONY: bench-metrics
bench-metrics: $(READY) ## loading hypertables beside COPY, roll-ups of a late row, cold rows' size (ROWS, ROUNDS, ONLY)
	@$(BIN)/watershed up postgres
	@$(BIN)/python -m benchmarks.metrics --rows $(or $(ROWS),2000000) --rounds $(or $(ROUNDS),3) --only "$(ONLY)"

.PHONY: bench-anomalies
bench-anomalies: $(READY) ## precision and recall of the anomaly check on labelled series (DATA=folder)
	@$(BIN)/python -m benchmarks.anomalies "$(DATA)"

.PHONY: bench-digest
bench-digest: $(READY) ## what comparing source and lake costs, in the lake and at the servers (SF, ROUNDS)
	@$(BIN)/watershed up all
	@$(BIN)/python -m benchmarks.digest --sf $(or $(SF),0.3) --rounds $(or $(ROUNDS),5)

.PHONY: bench-warehouse
bench-warehouse: $(READY) ## star schema, TPC-H, publishing, first row beside plain DuckDB (SF, ROUNDS, GB, SCRATCH, ONLY)
	@$(BIN)/python -m benchmarks.warehouse --sf $(or $(SF),1) --rounds $(or $(ROUNDS),3) --gb $(or $(GB),5) \
	  $(if $(SCRATCH),--scratch "$(SCRATCH)") --only "$(ONLY)"

.PHONY: lock
lock: $(READY) ## resolve the dependencies anew into requirements.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --group dev --python-version 3.11 pyproject.toml -o requirements.lock

.PHONY: clean
clean: ## remove what can be made again (not .data, not .services)
	@rm -rf $(VENV) dbt_project/target dbt_project/logs .mypy_cache .ruff_cache .pytest_cache
