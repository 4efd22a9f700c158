# Two commands do everything on a fresh machine with Python >= 3.11, git and make:
#   make run    the main job: the last five sessions from bars to fills on the embedded simulator
#   make test   everything that CI checks
#                (pictures of Dagster's UI are left in test-artifacts/, where chromium is installed)
#   make kill-matrix CASES=400 SEED=1    kill the submit loop anywhere, and count what is doubled or lost
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	"$$name" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo "$$name" && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PYTHONWARNINGS = ignore
CODE := trading_pipeline dbt_like_checks trading_pipeline_tests benchmarks

.PHONY: run ui test test-full kill-matrix lint lock clean

run: $(READY)
	@$(BIN)/trading-pipeline run $(ARGS)

ui: $(READY)
	@$(BIN)/trading-pipeline dev $(ARGS)

test: lint
	$(BIN)/coverage erase
	PYTHONWARNINGS= $(BIN)/coverage run -m pytest -n 2 --dist worksteal --durations=10 $(ARGS)
	$(BIN)/python -m trading_pipeline_tests.coverage_floor

test-full: export FULL = 1
test-full: test

kill-matrix: $(READY)
	@$(BIN)/python -m trading_pipeline_tests.faults.kill_matrix --cases $(or $(CASES),40) --seed $(or $(SEED),1)

lint: $(READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/dagster definitions validate -w workspace.yaml

lock: $(READY)
	$(BIN)/uv pip compile --universal --generate-hashes --no-strip-extras --no-header --no-emit-index-url \
		--no-emit-find-links --python-version 3.11 --group dev --upgrade pyproject.toml -o requirements.lock -q

clean:
	rm -rf $(VENV) .trading_pipeline .coverage* test-artifacts .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, with its venv module; none was found"; exit 1; }
	@echo "Setting up $(VENV) from requirements.lock (once, a minute or two)"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
