PYTHON ?= $(shell for version in 3.11 3.12 3.13; do python$$version -c '' 2> /dev/null && echo python$$version && break; done)
PORT ?= 8080
EXAMPLES ?= 10000
WORKERS ?= 3
BIN = .venv/bin
export OMP_NUM_THREADS ?= 1
unexport PYTHONDONTWRITEBYTECODE  # hundreds of programs start in the tests

.DEFAULT_GOAL := help
.PHONY: help env demo stack down test fuzz lint format hooks structure docs docs-site pictures bench lock clean

help:  ## Show every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env:  ## Build .venv from requirements.lock.txt (only when the lock changed)
	@python="$(PYTHON)"; command -v "$$python" > /dev/null || { echo "$${python:-Python 3.11, 3.12 or 3.13} is missing; install it with venv (Debian: apt-get install python3.11-venv) or run make PYTHON=/path/to/python" >&2; exit 2; }; "$$python" infra/local/environment.py

demo: env  ## Start Airflow, feed it a simulated fleet, wait for a release; the UI stays up (PORT=8080)
	@$(BIN)/python infra/local/demo.py --port $(PORT)

stack: env  ## The same on PostgreSQL, Redis and Celery workers, one of them for the queue gpu (PORT=8080)
	@$(BIN)/python infra/local/demo.py --stack --port $(PORT)

down: env  ## Stop the Airflow of the demo or of the stack
	@$(BIN)/python infra/local/demo.py --down

test: env  ## Lint, then every test on WORKERS=3 processes, one of which runs a real Airflow; seconds per folder
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy & types=$$!; \
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder --cov --cov-report= --durations=15; tests=$$?; \
	wait $$types || { echo "mypy found errors, see the first lines" >&2; exit 1; }; exit $$tests

fuzz: env  ## Generated inputs at every reader, EXAMPLES=10000 at each of eleven (half an hour of one core)
	@FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -q tests/fuzz

lint: env  ## Lint, check the format and the types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: env  ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

hooks: env  ## Check each commit with ruff and mypy (.pre-commit-config.yaml)
	@$(BIN)/pre-commit install

structure: env  ## Rewrite tests/dags/structure.json from the DAGs
	@UPDATE_STRUCTURE=1 $(BIN)/python -m pytest -q tests/dags/test_structure.py

docs: env  ## Rewrite the rendered pages (docs/settings.md, docs/cli.md)
	@$(BIN)/python docs/render_settings.py > docs/settings.md
	@$(BIN)/python docs/render_cli.py > docs/cli.md

docs-site: env  ## Build the documentation site into site/; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

pictures: env  ## Take the README's pictures: a demo of its own and the browser tests (Debian's chromium)
	@FLEETALIGN_PICTURES=docs/pictures $(BIN)/python -m pytest -q tests/e2e/test_airflow_demo.py -k browser

bench: env  ## Every benchmark, into docs/benchmarks.md: make bench DATA=FOLDER of labelled Parquet (two hours)
	@$(BIN)/fleetalign bench detection --data "$(DATA)" --out docs
	@$(BIN)/fleetalign bench speed --out docs
	@$(BIN)/fleetalign bench growth --out docs
	@$(BIN)/fleetalign bench airflow --out docs
	@$(BIN)/fleetalign bench scale --out docs
	@$(BIN)/fleetalign bench kills --out docs

lock: env  ## Resolve requirements.lock.txt anew, for every Python; torch stays plain and brings the CUDA libraries of its build
	@rm -f requirements.lock.txt
	@UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --quiet --no-annotate --no-header --no-emit-index-url --no-emit-find-links --output-file requirements.lock.txt
	@sed -i -e 's/^\(torch==[0-9.]*\)+.*/\1/' -e '/^\(cuda-\|nvidia-\|triton=\)/d' requirements.lock.txt

clean:  ## Stop demo and stack and delete what they made (.demo)
	@if [ -d .demo ]; then $(BIN)/python infra/local/demo.py --down && rm -rf .demo; fi
