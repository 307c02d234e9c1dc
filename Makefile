# Every command is one word, makes what it needs first, and can be run again at once.
# Plain Python and pip are enough: nothing is installed outside .venv.

PYTHON ?= python3
DATA ?= .demo
PORT ?= 8000
IMAGE ?= fundstelle
# More words for pytest, e.g. make test ARGS='-k offsets'
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
INSTALLED := $(VENV)/.installed
BUILD_IMAGE := ../shared/tools/build-image.sh
# Articles and questions to measure quality on
XQUAD ?= ../shared/data/xquad-dev
NEWEST_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test lint check fmt lock bench bench-browser bench-durability bench-fuzz bench-hostile bench-load bench-scale bench-security bench-writer image sbom clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## create .venv and install the locked packages and fundstelle itself

# The lock goes first, with a hash for every file; what PyTorch's own build still requires comes with it.
$(INSTALLED): requirements/dev.lock requirements/torch.in pyproject.toml
	@$(PYTHON) -c '$(NEWEST_ENOUGH)' 2>/dev/null || { \
	  echo "fundstelle needs Python 3.11 or newer, and $(PYTHON) is not: name one with PYTHON=, e.g." \
	    "make setup PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -c 'import pip; $(NEWEST_ENOUGH)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "setup 1/3: locked packages (the first time takes some minutes)"
	@$(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements/dev.lock
	@echo "setup 2/3: PyTorch"
	@$(PIP) install -r requirements/torch.in
	@echo "setup 3/3: fundstelle"
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(PIP) check
	@touch $@

demo: setup ## index sample/ and ask the question the project is known by
	@$(BIN)/fundstelle index sample --data .demo
	@$(BIN)/fundstelle ask "what did Germany offer France?" --data .demo

serve: setup ## serve HTTP and the chat page (DATA=.demo PORT=8000)
	@$(BIN)/fundstelle serve --data $(DATA) --port $(PORT)

test: setup ## run the tests, two at a time (ARGS='-k word' chooses)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test ## what CI runs: lint and test

fmt: setup ## format, and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Pins stay as they are where pyproject.toml allows it; `make lock UPGRADE=1` moves them all.
# `dev` contains the other two, so it is resolved first and they are held to its versions. The lock names
# wheels only (--no-build), no address (so it works with any index), and no PyTorch (pyproject.toml says why).
COMPILE = $(BIN)/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --no-build --generate-hashes \
  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-emit-package torch \
  --annotation-style line --custom-compile-command 'make lock'
# Not after set-up: a dependency that is not locked yet must not stop the lock from being written.
lock: ## write requirements/*.lock anew (UPGRADE=1 for newer versions)
	@test -x $(BIN)/uv || $(MAKE) setup
	$(COMPILE) pyproject.toml --extra eval --extra mcp --group dev -c requirements/torch.in -o requirements/dev.lock
	$(COMPILE) pyproject.toml --extra mcp -c requirements/dev.lock -c requirements/torch.in -o requirements/runtime.lock
	$(COMPILE) --group build -c requirements/dev.lock -o requirements/build.lock

# Of the image and of every installation from the lock: names, versions and hashes.
sbom: setup ## write dist/sbom.cdx.json: what an installation consists of, in the form of CycloneDX
	@mkdir -p dist
	@cat requirements/runtime.lock requirements/torch.in | PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements \
	  --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file dist/sbom.cdx.json -

bench: setup ## measure embedding, serving and quality; results in eval/results/
	$(BIN)/python -m eval.bench_embedding
	$(BIN)/python -m eval.bench_serving
	@if [ -d $(XQUAD) ]; then $(BIN)/python -m eval.bench_quality $(XQUAD) --seeds ../shared; \
	else echo "$(XQUAD) is not there: quality is not measured" >&2; fi

# Kills, faults and corruption by the thousand: about two hours on two cores, each program with a null control
# in the tests. Results in docs/results/durability/.
DURABILITY := $(BIN)/python -m tests.durability
bench-durability: setup ## try to break the durability contract, thousands of times
	$(DURABILITY).kills --trials 10000 --save
	$(DURABILITY).service_kills --trials 1000 --save
	$(DURABILITY).points --rounds 25 --recovery 1000 --save
	$(DURABILITY).faults_io --trials 3000 --save
	$(DURABILITY).disk_full --trials 100 --save
	$(DURABILITY).corruption --trials 20000 --save
	$(DURABILITY).model --trials 200000 --save
	$(DURABILITY).history --trials 200000 --save
	$(DURABILITY).swaps --trials 500 --save
	$(DURABILITY).backups --trials 100 --save

# An hour and more on two cores of their own. Results in docs/results/hostile/.
bench-hostile: setup ## upload 50,000 damaged files and every hostile one made by hand, asking questions meanwhile
	$(BIN)/python -m tests.hostile.uploads --trials 50000 --real 5000 --bombs --save

bench-security: setup ## twenty thousand worlds of tenants; result in docs/results/security/
	$(BIN)/python -m tests.security.tenants --trials 20000 --save

# Some hours on two cores. Results in docs/results/security/.
bench-fuzz: setup ## send the service what it must not be confused by: calls, values and bytes by the ten thousand
	$(BIN)/python -m tests.security.described --trials 50000 --save
	$(BIN)/python -m tests.security.raw_sockets --trials 50000 --save
	$(BIN)/python -m tests.security.values --trials 20000 --save

bench-load: setup ## overload a service, and end it under load, again and again; results in docs/results/load/
	$(BIN)/python -m tests.load.overload --trials 60 --save
	$(BIN)/python -m tests.load.farewell --trials 300 --save
	$(BIN)/python -m tests.load.soak --trials 300000 --save

bench-scale: setup ## measure 100,000 passages: build, open, add, memory; results in eval/results/
	$(BIN)/python -m eval.bench_scale

bench-browser: setup ## show 1,500 hostile texts in every place of the page; result in docs/results/
	$(BIN)/python -m tests.browser.hostile --trials 1500 --save

# Twenty kinds of wrong endpoints, 20,000 times, and every written answer that the checks are judged on.
bench-writer: setup ## measure written answers: endpoint faults and checks; results in docs/results/writer/
	$(BIN)/python -m tests.writer.faults --trials 20000 --seed 1 --save
	$(BIN)/python -m tests.writer.checks --save
	$(BIN)/python -m tests.writer.checks --set last --save
	$(BIN)/python -m tests.writer.checks --set second --save

image: ## build the container image and run it once, read-only and as nobody
	@if [ -x $(BUILD_IMAGE) ]; then \
	  port=$$($(PYTHON) -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])') && \
	  HEALTH=/readyz RUN_ARGS="--tmpfs /data:mode=1777 $$RUN_ARGS" $(BUILD_IMAGE) . $(IMAGE) $$port; \
	elif command -v docker >/dev/null; then docker build --tag $(IMAGE) .; \
	else echo "neither $(BUILD_IMAGE) nor docker is there" >&2; exit 1; fi

clean: ## remove what these commands made: .venv, .demo, caches, builds
	rm -rf $(VENV) .demo .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find index service eval tests -name __pycache__ -type d -prune -exec rm -rf {} +
