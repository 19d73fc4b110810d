# Parallactic: everything a person types. `make` alone prints what there is.
#
# Nothing has to be activated: .venv is made by scripts/bootstrap.sh when it is missing or when pyproject.toml
# has changed, and its Python is called by path. Relative paths alone, so that any folder serves.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint format docs-check setup-demo setup-test clean distclean

BACKENDS ?= serial,multiprocessing,mpi,dask
JOBS ?= 2
ARGS ?=

PY := .venv/bin/python

# Downloads stay in this folder, and serve the demo and the tests alike.
export PARALLACTIC_CACHE ?= $(CURDIR)/.cache/parallactic

# A PYTHONPATH of the caller would put other versions of the libraries before those of .venv.
unexport PYTHONPATH PYTHONHOME

# What the tests must not inherit: the caller's choice of backend, and threads that fight for the cores.
TEST_ENV := env -u PARALLACTIC_BACKEND -u PARALLACTIC_WORKERS -u PARALLACTIC_CONFIG \
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 MPLBACKEND=Agg \
	PARALLACTIC_TEST_BACKENDS='$(BACKENDS)'

define HELP
Parallactic: radio-astronomy tasks written once, run on interchangeable backends.

  make demo         run the whole recipe on a real and on a simulated observation; images and a report
  make test         all checks and all tests      BACKENDS=serial,mpi   JOBS=1   ARGS="-k flag -x"
  make lint         format, lint, types and floors, without the tests
  make format       rewrite the sources in the one format
  make docs-check   links and Python examples of README and docs
  make clean        remove caches and the results of the demo
  make distclean    remove .venv and the downloads too

Each makes .venv first if need be (Python 3.11 and make suffice; another Python: make PYTHON=/path/to/python3).
endef

help:
	$(info $(HELP))
	@:

setup-demo:
	@PYTHON='$(PYTHON)' sh scripts/bootstrap.sh demo

setup-test:
	@PYTHON='$(PYTHON)' sh scripts/bootstrap.sh test

demo: setup-demo
	@$(PY) -m parallactic.pipeline.demo $(ARGS)

test: lint
	@echo "== pytest (backends: $(BACKENDS))"
	@$(TEST_ENV) $(PY) -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder --max-worker-restart=0 $(ARGS)

lint: setup-test
	@echo "== ruff format --check"
	@$(PY) -m ruff format --check .
	@echo "== ruff check"
	@$(PY) -m ruff check .
	@echo "== mypy"
	@$(PY) -m mypy
	@echo "== import-linter"
	@$(PY) -c 'import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_logo=True))'

format: setup-test
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

docs-check: setup-test
	@$(TEST_ENV) $(PY) -m pytest -q tests/test_docs.py

clean:
	rm -rf demo-output build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src backends tests examples benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .cache
