# The two commands: `make demo` and `make test`. Both set up .venv first and need nothing but Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types setup bench bench-full .venv-rivals clean

demo: .venv/demo
	$(BIN)/matinee train digits

test: .venv/dev
	$(BIN)/python -m pytest tests -n 2 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

setup: .venv/dev

# Matinee beside what else would be used. MATINEE_DATA names the folder of the data; benchmarks/suite.py says which.
bench: .venv/demo
	@test -e .venv-rivals/ready || $(MAKE) .venv-rivals || echo "No .venv-rivals: the rows that need it are left out."
	$(BIN)/python benchmarks/suite.py

bench-full: .venv/demo
	@test -e .venv-rivals/ready || $(MAKE) .venv-rivals || echo "No .venv-rivals: the rows that need it are left out."
	$(BIN)/python benchmarks/suite.py --full

.venv-rivals: .venv-rivals/ready

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Matinee needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	@echo "installing PyTorch and what it needs (up to 1.3 GB, minutes the first time)"
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[samples]"
	touch $@

.venv/dev: .venv/demo
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[samples,dev]"
	touch $@

.venv-rivals/ready: benchmarks/rivals/requirements.txt constraints.txt
	$(PYTHON) -m venv .venv-rivals
	.venv-rivals/bin/python -m pip install -q -c constraints.txt -r benchmarks/rivals/requirements.txt
	touch $@

clean:
	rm -rf .venv runs
