# `make run` serves and `make test` tests. Both set up their environments the first time.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# .venv has only the service. Development, pipenv and AWS Lambda have environments of their own. Set PYTHON to choose the
# interpreter.
SERVICE := .venv
DEVELOPMENT := .venv-dev
PIPENV := .venv-pipenv
LAMBDA := .venv-lambda
FROM_NPM := tests/npm/node_modules
PIPENV_RELEASE := 2026.10.3
IN_DEVELOPMENT := $(DEVELOPMENT)/bin/python -m

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

.PHONY: run
run: $(SERVICE)/.ready ## Serve on http://127.0.0.1:8000 (to change that, set HOST and PORT)
	@exec $(SERVICE)/bin/quoteapi serve

.PHONY: setup
setup: $(SERVICE)/.ready ## Set up .venv, without serving

.PHONY: test
test: $(DEVELOPMENT)/.ready $(LAMBDA)/.ready $(if $(shell command -v npm),$(FROM_NPM)/.ready) ## Run the whole test suite
	@$(IN_DEVELOPMENT) pytest -n 2 --dist worksteal $(ARGS)

.PHONY: lint
lint: $(DEVELOPMENT)/.ready ## Check format, lint, types and import layers
	@$(IN_DEVELOPMENT) ruff format --check --quiet
	@$(IN_DEVELOPMENT) ruff check --quiet
	@$(IN_DEVELOPMENT) mypy
	@$(DEVELOPMENT)/bin/lint-imports --no-cache --no-logo

.PHONY: hooks
hooks: ## Have git run `make lint` before each commit in this clone
	@git config core.hooksPath .ci/hooks

.PHONY: format
format: $(DEVELOPMENT)/.ready ## Format the code, and apply the safe lint fixes
	@$(IN_DEVELOPMENT) ruff check --quiet --fix --exit-zero
	@$(IN_DEVELOPMENT) ruff format --quiet

.PHONY: catalogue
catalogue: $(DEVELOPMENT)/.ready ## Build quote_database.db from catalogue/quotes.csv
	@$(IN_DEVELOPMENT) quoteapi.quotes.bundled_catalogue

.PHONY: bench
bench: $(DEVELOPMENT)/.ready $(SERVICE)/.ready $(LAMBDA)/.ready ## Measure speed, and how cost grows with size (needs wrk)
	@$(IN_DEVELOPMENT) benchmarks.cold
	@$(IN_DEVELOPMENT) benchmarks.http
	@$(IN_DEVELOPMENT) benchmarks.scale

.PHONY: package
package: $(SERVICE)/.ready ## Build the Lambda package of STAGE (default: dev), and show its largest parts
	@$(SERVICE)/bin/python -m quoteapi.deploy.package $(or $(STAGE),dev)

.PHONY: rehearse
rehearse: $(DEVELOPMENT)/.ready $(LAMBDA)/.ready ## Deploy all stages, or STAGE, to an emulated AWS, and test them there
	@$(IN_DEVELOPMENT) tests.rehearsal $(STAGE)

.PHONY: simulate
simulate: $(DEVELOPMENT)/.ready ## Simulate ten years of daily SMS with faults (ARGS="--seed …" replays them)
	@$(IN_DEVELOPMENT) tests.simulation $(ARGS)

.PHONY: screenshots
screenshots: $(DEVELOPMENT)/.ready ## Take the screenshots in docs/ in a real browser
	@$(IN_DEVELOPMENT) tests.screenshots

# The lock names no package index: pipenv uses its default or, if PIPENV_PYPI_MIRROR is set, your mirror.
.PHONY: lock
lock: $(DEVELOPMENT)/.ready $(PIPENV)/.ready ## Lock the newest releases that Pipfile allows in Pipfile.lock
	@PIPENV_VERBOSITY=-1 VIRTUAL_ENV="$$PWD/$(DEVELOPMENT)" $(PIPENV)/bin/python -m pipenv lock
	@$(DEVELOPMENT)/bin/python -c "$$WITHOUT_INDEX"

define WITHOUT_INDEX
import json, pathlib
path = pathlib.Path("Pipfile.lock")
lock = json.loads(path.read_text())
lock["_meta"]["sources"] = []
for packages in (lock["default"], lock["develop"]):
    for package in packages.values():
        package.pop("index", None)
path.write_text(json.dumps(lock, indent=4, sort_keys=True) + "\n")
endef
export WITHOUT_INDEX

.PHONY: clean
clean: ## Remove environments and caches, but not the working database
	@rm -rf $(SERVICE) $(DEVELOPMENT) $(PIPENV) $(LAMBDA)* $(FROM_NPM) build .setup.log .mypy_cache .pytest_cache .ruff_cache .hypothesis

# ---- set-up

# Set-up logs to .setup.log. If it fails, it prints one sentence that says what is missing.
define SAY_WHAT_FAILED
{ if grep -qiE 'connection|from versions: none|resolve|timed out|unreachable|name or service|proxy' .setup.log; \
  then echo "Set-up failed: the package index cannot be reached. Check the network. To use a mirror, set PIP_INDEX_URL and PIPENV_PYPI_MIRROR. Details: .setup.log"; \
  else tail -n 20 .setup.log; echo "Set-up failed, for the reason above. Details: .setup.log"; fi >&2; exit 1; }
endef

# Environments hold absolute paths, so they are removed if the folder was moved.
MOVED := $(shell for made in $(SERVICE) $(DEVELOPMENT) $(PIPENV); do \
  if [ -e $$made/.ready ] && [ "$$(cat $$made/.ready)" != "$$(pwd)" ]; then rm -rf $$made; fi; done)

# Python 3.13 comes first: it is Lambda's runtime in zappa_settings.json. The shims of pyenv can exist and fail.
define FIND_PYTHON
python=; for candidate in $(if $(PYTHON),"$(PYTHON)",python3.13 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13.*/bin/python3.13 \
  python3 python3.14 python3.12 python3.11); do \
  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
    python=$$candidate; if "$$candidate" -c 'import venv, ensurepip' 2>/dev/null; then break; fi; fi; done; \
if [ -z "$$python" ]; then echo "Python 3.11 or later is missing. Install it, or set PYTHON to its path$(if $(PYTHON), (now $(PYTHON)))." >&2; exit 1; fi; \
if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then echo "Python's venv module is missing. On Debian and Ubuntu, run: apt install python3-venv" >&2; exit 1; fi
endef

# $(call SET_UP,environment,options of pipenv)
# An environment that works keeps its Python until `make clean`.
define SET_UP
@$(FIND_PYTHON); \
echo "Setting up $(1) (once, about a minute; details in .setup.log) ..."; \
{ rm -f $(1)/.ready && { $(1)/bin/python -m pip --version || "$$python" -m venv $(1) --clear; } && \
  PIPENV_VERBOSITY=-1 PIPENV_IGNORE_VIRTUALENVS=0 VIRTUAL_ENV="$$PWD/$(1)" $(PIPENV)/bin/python -m pipenv sync $(2) && \
  $(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable . ; \
} >.setup.log 2>&1 || $(SAY_WHAT_FAILED); \
pwd >$(1)/.ready
endef

$(SERVICE)/.ready: Pipfile.lock pyproject.toml | $(PIPENV)/.ready
	$(call SET_UP,$(SERVICE),)

$(DEVELOPMENT)/.ready: Pipfile.lock pyproject.toml | $(PIPENV)/.ready
	$(call SET_UP,$(DEVELOPMENT),--dev)

# The function compares the installed packages with the lock, and installs them again if they differ.
$(LAMBDA)/.ready: Pipfile.lock quoteapi/deploy/package.py | $(DEVELOPMENT)/.ready
	@$(DEVELOPMENT)/bin/python -c "from quoteapi.deploy.package import environment_for_lambda; environment_for_lambda()" && touch $@

# newman and axe, for tests. If npm cannot install them, the suite skips these tests and says so.
$(FROM_NPM)/.ready: $(wildcard tests/npm/package*.json)
	@echo "Setting up newman and axe (once) ..."; \
	if (cd tests/npm && npm ci) >.setup.log 2>&1; then touch $@; \
	else echo "npm could not install newman and axe, so their tests are skipped. Details: .setup.log" >&2; fi

$(PIPENV)/.ready:
	@$(FIND_PYTHON); \
	echo "Setting up pipenv (once) ..."; \
	{ "$$python" -m venv $(PIPENV) --clear && \
	  $(PIPENV)/bin/python -m pip install --quiet --disable-pip-version-check pipenv==$(PIPENV_RELEASE); \
	} >.setup.log 2>&1 || $(SAY_WHAT_FAILED); \
	pwd >$@
