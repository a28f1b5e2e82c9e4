# make demo | test | check | ui | serve: each sets up what it needs in .venv and is quick when that is there already.
ifndef PYTHON
# The first that runs; a shim of pyenv may be there and run nothing.
FITS = import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON := $(firstword $(foreach name,python3.11 python3.12 python3,$(shell $(name) -c "$(FITS)" 2>/dev/null && echo $(name))))
endif
BIN := .venv/bin
STAMP := .venv/.installed
# Nothing here may listen to the world or report to anybody.
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1
export MLFLOW_DISABLE_TELEMETRY = true
export RAY_USAGE_STATS_ENABLED = 0

CONFIG ?= demo

.PHONY: demo test check ui serve install clean clean-demo

install: $(STAMP)

# onnxruntime-gpu stands alone in constraints.txt: beside onnxruntime each would overwrite the other.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PYTHON)" \
		|| { echo "No Python 3.11 or 3.12 on PATH: install one, or name it with PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/mimicmotion demo

# Two files at a time: many tests wait for servers. A file stays in one process, with what it started.
test: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_readme.py

ui: $(STAMP)
	$(BIN)/mimicmotion ui $(CONFIG)

# Prefect with a worker, MLflow and Ray with their pages, on 127.0.0.1, until Ctrl-C.
serve: $(STAMP)
	$(BIN)/mimicmotion serve $(CONFIG)

# Workspaces stay: they may hold the training of weeks.
clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

clean-demo:
	rm -rf workspace/demo workspace/dancers
