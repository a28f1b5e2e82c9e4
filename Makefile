# make demo | test | check | ui | serve: each sets up what it needs in .venv and is quick when that is there already.
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed
# Nothing here may listen to the world or report to anybody.
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1
export MLFLOW_DISABLE_TELEMETRY = true
export RAY_USAGE_STATS_ENABLED = 0

CONFIG ?= demo

.PHONY: demo test check ui serve install clean

install: $(STAMP)

# onnxruntime-gpu stands alone in constraints.txt: beside onnxruntime each would overwrite the other.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or 3.12 is needed; name it with PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m mimicmotion.synthetic.world workspace/dancers --num-dancers 4 --num-dances 4
	$(BIN)/mimicmotion rebuild demo

# Two files at a time: many tests wait for servers. A file stays in one process, with what it started.
test: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_readme.py

ui: $(STAMP)
	$(BIN)/mimicmotion ui demo

# Prefect with a worker, MLflow and Ray with their pages, on 127.0.0.1, until Ctrl-C.
serve: $(STAMP)
	$(BIN)/mimicmotion serve $(CONFIG)

clean:
	rm -rf .venv workspace
