# `make demo` and `make test` each do all of their own set-up; a second run starts at once.
PYTHON ?= python3
PYTEST_ARGS ?= -n 2 --dist worksteal
DEMO ?= demo

BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help demo test lint format reference page clean

help:  ## show this page
	@echo "make demo         the whole journey on this project's own handbook (FULL=1: all of it)"
	@echo "make test         lint, types and every test"
	@echo "make lint         ruff and mypy only"
	@echo "make format       let ruff put the layout right"
	@echo "make reference    write docs/commands.md and docs/zh/commands.md anew"
	@echo "make page         build the page anew, after its source or the Chinese of what the server tells has changed"
	@echo "make clean        remove the environment and what tests and builds left (the demo's folder stays)"

demo: .venv/ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/handbook/demo.sh "$(DEMO)"

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/ready-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

reference: .venv/ready-dev
	$(BIN)/python -m shuyuan.cli.reference

page:
	cd src/shuyuan/web && npm ci --ignore-scripts && npm run check && npm run build

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests -name __pycache__ -type d -exec rm -rf {} +

# torch goes first and alone: a build already chosen for this machine (CPU or CUDA) then satisfies the constraints.
.venv/torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Shuyuan needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "hint: install a newer one and name it: make PYTHON=python3.12 demo" >&2; exit 1; }
	@echo "making the environment .venv with $$($(PYTHON) --version)" >&2
	@$(PYTHON) -m venv .venv || { \
	  echo "hint: on Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "installing torch, the largest part (200 MB to 3 GB, depending on the build for this machine)" >&2
	$(BIN)/python -m pip install --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	@touch $@

.venv/ready: .venv/torch constraints.txt pyproject.toml
	@echo "installing Shuyuan and what it stands on (about 800 MB): docs/dependencies.md says why each is here" >&2
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[serve,fast]"
	@touch $@

.venv/ready-dev: .venv/ready
	@echo "installing the tools that check it" >&2
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
